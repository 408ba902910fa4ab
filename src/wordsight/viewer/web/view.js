// The start page: files and a question go to the server, its progress and then the page of the story come back.
"use strict";

const PAUSE = 250; // milliseconds between two looks at a job
const at = (id) => document.getElementById(id);
let files = [];
let limit = Infinity; // bytes of all files
let followed = null; // the job that is waited for

/** Tell what goes on, or what went wrong. */
function say(text, isWrong = false) {
  if (at("status").textContent !== text) at("status").textContent = text; // what is the same is not read out again
  at("status").classList.toggle("wrong", isWrong);
}

/** What the server says; an Error with its sentence where it refuses. */
async function fetched(path, options) {
  const answer = await fetch(path, options).catch(() => {
    throw new Error("the server does not answer: it was stopped, or it refused so large a file");
  });
  const told = await answer.json().catch(() => ({ error: `the server answers ${answer.status}` }));
  if (!answer.ok) throw new Error(told.error);
  return told;
}

/** Take files in place of those that were chosen before. */
function choose(taken) {
  if (!taken.length) return;
  files = [...taken];
  showChosen();
  say(files.length > 1 ? `${files.length} files chosen.` : `${files[0].name} chosen.`);
  at("question").focus();
}

function showChosen() {
  for (const image of at("chosen").querySelectorAll("img")) URL.revokeObjectURL(image.src);
  at("chosen").replaceChildren(...files.map((file) => {
    const isPicture = file.type.startsWith("image/");
    const thumb = isPicture ? [make("img", { src: URL.createObjectURL(file), alt: "" })] : [];
    const remove = make("button", { type: "button", text: "×", "aria-label": `Leave out ${file.name}` });
    remove.addEventListener("click", () => {
      files = files.filter((one) => one !== file);
      showChosen();
      say(`${file.name} left out.`);
      at("choose").focus();
    });
    return make("li", { title: file.name, of: [...thumb, make("span", { text: file.name }), remove] });
  }));
}

/** Send the question, then follow it. */
async function ask(event) {
  event.preventDefault();
  const size = files.reduce((sum, file) => sum + file.size, 0);
  if (!files.length) return say("Choose a picture or a video first.", true);
  if (size > limit) {
    return say(`The files have ${mib(size)} MiB together; this server takes up to ${mib(limit)} MiB.`, true);
  }
  const form = new FormData();
  for (const file of files) form.append("media", file);
  form.append("question", at("question").value);
  followed = null;
  say("sending");
  showShare(null);
  try {
    const job = await fetched("/explain", { method: "POST", body: form });
    location.hash = job.id; // so that it can be found again; this follows it
  } catch (error) {
    stop(error.message);
  }
}

function mib(bytes) {
  return (bytes / 2 ** 20).toPrecision(3);
}

/** It went wrong: what was shown before stays, so that the question can be put otherwise. */
function stop(text) {
  at("bar").hidden = true;
  say(text, true);
}

/** Look at the job in the address until it is over. */
async function follow() {
  const id = location.hash.slice(1);
  followed = id;
  if (!id) return begin();
  at("links").hidden = true;
  try {
    for (;;) {
      const job = await fetched(`/jobs/${encodeURIComponent(id)}`);
      if (followed !== id) return; // another question was asked meanwhile
      if (job.state === "failed") throw new Error(job.says);
      if (job.state === "done") return show(job);
      say(job.ahead ? `waiting: ${job.ahead} before this one` : `${job.says} …`);
      showShare(job.share);
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  } catch (error) {
    if (followed === id) stop(error.message);
  }
}

/** How much is done; a bar that only moves where nobody knows. */
function showShare(share) {
  at("bar").hidden = false;
  if (share === null) at("bar").removeAttribute("value");
  else at("bar").value = share;
}

/** Nothing has been asked yet. */
function begin() {
  document.body.classList.remove("telling");
  at("shown").hidden = at("bar").hidden = at("links").hidden = true;
  say("");
}

function show(job) {
  const page = `/jobs/${job.id}/page`;
  at("bar").hidden = true;
  at("links").hidden = false;
  at("page").href = page;
  at("story").href = `/jobs/${job.id}/story`;
  document.body.classList.add("telling");
  at("shown").hidden = false;
  at("shown").contentWindow.location.replace(new URL(page, location)); // no step of its own to go back
  say(`Answer: ${job.answer || "(blank)"}`);
}

async function offerExamples() {
  for (const [name, question] of Object.entries(await fetched("/examples"))) {
    const path = `/files/${name}`;
    const button = make("button", { type: "button", of: [make("img", { src: path, alt: "" }), make("span", { text: name })] });
    button.addEventListener("click", async () => {
      const answer = await fetch(path).catch(() => ({ ok: false }));
      if (!answer.ok) return stop(`${name} did not come: the server was stopped, or it is busy`);
      at("question").value = question;
      choose([new File([await answer.blob()], name, { type: "image/png" })]);
    });
    at("examples").append(button);
  }
}

async function introduce() {
  const { model, wordsight, max_upload: bytes } = await fetched("/health");
  limit = bytes;
  at("about").textContent = `${model}, asked by wordsight ${wordsight}. Pictures go to this server and nowhere else.`;
}

at("form").addEventListener("submit", ask);
at("choose").addEventListener("click", () => at("media").click());
at("media").addEventListener("change", () => {
  choose(at("media").files);
  at("media").value = ""; // so that the same file can be chosen again
});
addEventListener("paste", ({ clipboardData }) => choose(clipboardData.files));
addEventListener("dragover", (event) => {
  event.preventDefault();
  at("drop").classList.add("over");
});
addEventListener("dragleave", () => at("drop").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  choose(event.dataTransfer.files);
});
addEventListener("hashchange", follow);
Promise.all([introduce(), offerExamples()]).catch((error) => stop(error.message));
follow();
