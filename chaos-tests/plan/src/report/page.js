// Fingers have no hover: what is tapped says what it is at the bottom. Without scripts the page is complete but for this.
const tip = document.getElementById("tip");
document.addEventListener("click", (event) => {
  const title = event.target.closest("svg *")?.querySelector?.("title") ?? event.target.parentElement?.querySelector?.(":scope > title");
  tip.hidden = !title;
  tip.textContent = title ? title.textContent : "";
});
document.getElementById("copy").addEventListener("click", async (event) => {
  await navigator.clipboard.writeText(document.getElementById("replay").textContent);
  event.target.textContent = "Copied";
});
