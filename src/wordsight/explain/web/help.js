// Help: what a measure is, beside the word for it, as long as it is pointed at or focused.

/** Show the `data-help` of the elements that have one. */
function listenForHelp() {
  const tip = make("div", { id: "tip", role: "tooltip", hidden: "" });
  document.body.append(tip);
  let of = null;
  const show = ({ target }) => {
    of?.removeAttribute("aria-describedby");
    of = target.closest?.("[data-help]") ?? null;
    tip.hidden = !of;
    if (!of) return;
    tip.textContent = of.dataset.help;
    of.setAttribute("aria-describedby", "tip");
    const { left, top, bottom } = of.getBoundingClientRect(), { offsetWidth: width, offsetHeight: height } = tip;
    tip.style.left = `${Math.max(4, Math.min(left, innerWidth - width - 4))}px`;
    tip.style.top = `${bottom + height + 8 < innerHeight ? bottom + 4 : top - height - 4}px`;
  };
  document.addEventListener("pointerover", show);
  document.addEventListener("focusin", show);
  document.addEventListener("keydown", ({ key }) => key === "Escape" && show({ target: document.body }));
  document.addEventListener("scroll", () => show({ target: document.body }), { capture: true, passive: true });
}
