// Tour: five steps through the page; each shows something and says what it is.

/** Start the tour of steps `{ at, text, act }`: an id to outline, what is said, and what is done before. */
function startTour(steps) {
  document.getElementById("tour")?.remove();
  const box = make("dialog", { id: "tour", "aria-label": "Tour" });
  const outline = (id) => {
    document.querySelector(".toured")?.classList.remove("toured");
    if (id) document.getElementById(id).classList.add("toured");
  };
  const end = () => {
    outline(null);
    box.remove();
    document.getElementById("tour-start").focus();
  };
  const button = (text, to) => {
    const made = make("button", { type: "button", text });
    made.addEventListener("click", () => (to in steps ? show(to) : end()));
    return made;
  };
  const show = (number) => {
    const { at: id, text, act } = steps[number];
    act?.();
    outline(id);
    document.getElementById(id).scrollIntoView({ block: "center" });
    const isLast = number === steps.length - 1, forward = button(isLast ? "Done" : "Next", number + 1);
    box.replaceChildren(
      make("p", { role: "status", of: [make("strong", { text: `${number + 1} of ${steps.length}. ` }), text] }),
      ...(number ? [button("Back", number - 1)] : []),
      forward,
      ...(isLast ? [] : [button("End", steps.length)]),
    );
    forward.focus();
  };
  box.addEventListener("keydown", ({ key }) => key === "Escape" && end());
  document.body.append(box);
  box.show();
  show(0);
}
