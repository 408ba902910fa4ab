// Start page of the viewer: files and a question go to the server; progress, words and then the page of the answer come
// back.
"use strict";

const PAUSE = 250; // milliseconds between two requests for a job
const at = (id) => document.getElementById(id);
let files = [];
let limit = Infinity; // bytes of all files
let most = Infinity; // files of a question
let followed = null; // the id of the job whose end is awaited
let words = null; // the pictures of its words, see words.js

/** Show what is being done, or what went wrong. */
function setStatus(text, isError = false) {
  if (at("status").textContent !== text) at("status").textContent = text; // screen readers repeat what is set
  at("status").classList.toggle("error", isError);
}

/** The JSON that the server answers with; throws an Error with its sentence where it refuses. */
async function fetchJson(path, options) {
  const response = await fetch(path, options).catch(() => {
    throw new Error("the server does not answer: it was stopped, or it refused a file that is too large");
  });
  const data = await response.json().catch(() => ({ error: `the server answered with status ${response.status}` }));
  if (!response.ok) throw new Error(data.error);
  return data;
}

/** Take these files in place of those that were chosen before. */
function choose(chosen) {
  if (!chosen.length) return;
  files = [...chosen];
  showChosen();
  setStatus(files.length > 1 ? `${files.length} files chosen.` : `${files[0].name} chosen.`);
  at("question").focus();
}

/** Take the pictures and videos of a folder, of [path, file] each, by path: as many as a question takes. */
function chooseFolder(inside) {
  const suffixes = at("media").accept.split(",");
  const isRead = ({ name }) => !name.startsWith(".") && suffixes.includes(/\.[^.]*$|$/.exec(name)[0].toLowerCase());
  const found = inside.filter(([, file]) => isRead(file)).sort(([a], [b]) => (a < b ? -1 : 1));
  if (!found.length) return setStatus("There is no picture or video in this folder.", true);
  choose(found.slice(0, most).map(([, file]) => file));
  if (found.length > most) setStatus(`${most} of ${found.length} files chosen: a question takes no more.`);
}

/** The [path, file] of each file in a folder that was dropped, and in its folders. */
async function filesIn(entry) {
  const promised = (owner, method) => new Promise((resolve, reject) => owner[method](resolve, reject));
  if (entry.isFile) return [[entry.fullPath, await promised(entry, "file")]];
  const reader = entry.createReader(), found = [];
  for (let some; (some = await promised(reader, "readEntries")).length;) { // it gives a hundred at a time
    found.push(...(await Promise.all(some.map(filesIn))).flat());
  }
  return found;
}

/** Take the file that a link leads to; the server fetches it. */
async function chooseLink(url) {
  setStatus("fetching …");
  const response = await fetch(`/links?url=${encodeURIComponent(url)}`, { method: "POST" }).catch(() => null);
  if (!response?.ok) return fail(response ? (await response.json()).error : "the server does not answer");
  const name = decodeURIComponent(new URL(url).pathname.split("/").pop()) || new URL(url).hostname;
  choose([new File([await response.blob()], name)]);
}

/** Take files, folders or a link that were dropped or pasted. */
async function take(data) {
  const entries = [...data.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry);
  if (entries.some((entry) => entry.isDirectory)) {
    return chooseFolder((await Promise.all(entries.map(filesIn))).flat());
  }
  if (data.files.length) return choose(data.files);
  const text = data.getData("text/plain").trim();
  if (/^https?:\/\/\S+$/i.test(text)) chooseLink(text);
}

function showChosen() {
  for (const image of at("chosen").querySelectorAll("img")) URL.revokeObjectURL(image.src);
  at("chosen").replaceChildren(...files.map((file) => {
    const isPicture = file.type.startsWith("image/");
    const thumb = isPicture ? [make("img", { src: URL.createObjectURL(file), alt: "" })] : [];
    const remove = make("button", { type: "button", text: "×", "aria-label": `Remove ${file.name}` });
    remove.addEventListener("click", () => {
      files = files.filter((one) => one !== file);
      showChosen();
      setStatus(`${file.name} removed.`);
      at("choose").focus();
    });
    return make("li", { title: file.name, of: [...thumb, make("span", { text: file.name }), remove] });
  }));
}

/** Send the question, then follow it. */
async function ask(event) {
  event.preventDefault();
  const size = files.reduce((sum, file) => sum + file.size, 0);
  if (!files.length) return setStatus("Choose a picture or a video first.", true);
  if (size > limit) {
    return setStatus(`The files have ${mib(size)} MiB together; this server takes up to ${mib(limit)} MiB.`, true);
  }
  const form = new FormData();
  for (const file of files) form.append("media", file);
  form.append("question", at("question").value);
  followed = null;
  setStatus("sending …");
  showShare(null);
  try {
    const job = await fetchJson("/explain", { method: "POST", body: form });
    location.hash = job.id; // so that it can be found again; this follows it
  } catch (error) {
    fail(error.message);
  }
}

function mib(bytes) {
  return (bytes / 2 ** 20).toPrecision(3);
}

/** Show an error; what was shown before stays, so that the question can be put otherwise. */
function fail(text) {
  at("bar").hidden = at("cancel").hidden = true;
  setStatus(text, true);
}

/** Ask for the job in the address until it is over. */
async function follow() {
  const id = location.hash.slice(1);
  [followed, words] = [id, null];
  if (!id) return reset();
  at("links").hidden = true;
  try {
    for (;;) {
      const job = await fetchJson(`/jobs/${encodeURIComponent(id)}`);
      if (followed !== id) return; // another question was asked meanwhile
      if (job.state === "failed") throw new Error(job.says);
      if (job.state === "canceled") return fail("canceled");
      if (job.state === "done") return showAnswer(job);
      setStatus(job.ahead ? `waiting: ${job.ahead} before this one` : `${job.says} …`);
      showShare(job.share);
      at("cancel").hidden = false;
      await showWords(job);
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  } catch (error) {
    if (followed === id) fail(error.message);
  }
}

/** Show how much is done; null is not known. */
function showShare(share) {
  at("bar").hidden = false;
  if (share === null) at("bar").removeAttribute("value");
  else at("bar").value = share;
}

/** Show what tokens have said so far, if they have. */
async function showWords(job) {
  if (!Object.keys(job.words).length) return;
  if (!words) {
    const places = await fetchJson(`/jobs/${job.id}/places`).catch(() => null);
    if (!places || followed !== job.id) return; // it is over meanwhile, or another one is followed
    words = picturesOfWords(places);
    at("words").replaceChildren(...words.figures);
    showInstead("words");
  }
  words.show(job.words);
}

/** Show words or an explanation below the form, where the other may have been. */
function showInstead(id) {
  document.body.classList.add("answered");
  for (const one of ["words", "explanation"]) at(one).hidden = one !== id;
}

/** Show the form alone: nothing has been asked yet. */
function reset() {
  document.body.classList.remove("answered");
  at("words").hidden = at("explanation").hidden = at("bar").hidden = at("cancel").hidden = at("links").hidden = true;
  setStatus("");
}

function showAnswer(job) {
  const page = `/jobs/${job.id}/page`;
  at("bar").hidden = at("cancel").hidden = true;
  at("links").hidden = false;
  at("page").href = at("save").href = page;
  at("record").href = `/jobs/${job.id}/record`;
  showInstead("explanation");
  at("explanation").contentWindow.location.replace(new URL(page, location)); // adds no entry to the history
  setStatus(`Answer: ${job.answer || "(blank)"}`);
}

async function offerExamples() {
  for (const [name, question] of Object.entries((await fetchJson("/examples")).questions)) {
    const path = `/files/${name}`;
    const button = make("button", { type: "button", of: [make("img", { src: path, alt: "" }), make("span", { text: name })] });
    button.addEventListener("click", async () => {
      const response = await fetch(path).catch(() => ({ ok: false }));
      if (!response.ok) return fail(`${name} could not be loaded: the server was stopped, or it is busy`);
      at("question").value = question;
      choose([new File([await response.blob()], name, { type: "image/png" })]);
    });
    at("examples").append(button);
  }
}

async function introduce() {
  const { model, wordsight, max_upload: bytes, max_files: count, takes_links: takesLinks } = await fetchJson("/health");
  [limit, most] = [bytes, count];
  at("link").hidden = !takesLinks;
  at("about").textContent = `${model}, served by wordsight ${wordsight}. Pictures are sent to this server and nowhere else.`;
}

at("form").addEventListener("submit", ask);
at("choose").addEventListener("click", () => at("media").click());
at("media").addEventListener("change", () => {
  choose(at("media").files);
  at("media").value = ""; // so that the same file can be chosen again
});
at("choose-folder").addEventListener("click", () => at("folder").click());
at("folder").addEventListener("change", () => {
  chooseFolder([...at("folder").files].map((file) => [file.webkitRelativePath, file]));
  at("folder").value = "";
});
at("linked").addEventListener("submit", (event) => {
  event.preventDefault();
  if (at("link").value) chooseLink(at("link").value);
  at("link").value = "";
});
at("cancel").addEventListener("click", () => {
  fetchJson(`/jobs/${encodeURIComponent(followed)}`, { method: "DELETE" }).catch((error) => fail(error.message));
});
addEventListener("paste", ({ clipboardData, target }) => {
  if (clipboardData.files.length || target.tagName !== "INPUT") take(clipboardData);
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  at("drop").classList.add("over");
});
addEventListener("dragleave", () => at("drop").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  take(event.dataTransfer).catch((error) => fail(error.message)); // a file of a folder may be gone
});
addEventListener("hashchange", follow);
Promise.all([introduce(), offerExamples()]).catch((error) => fail(error.message));
follow();
