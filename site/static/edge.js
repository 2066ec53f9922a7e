// What goes on to the right fades out there: a telephone shows no scroll bar.
const BOXES = ".pst-scrollable-table-container, .scroll, .wide, mjx-container[display], .cell_output pre";
const mark = (box) => box.classList.toggle("goes-on", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
const markAll = () => document.querySelectorAll(BOXES).forEach(mark);
document.addEventListener("scroll", (event) => event.target.matches?.(BOXES) && mark(event.target), true);
document.addEventListener("load", markAll, true); // pictures are fetched when they come near
document.addEventListener("toggle", markAll, true); // a fold opens
addEventListener("resize", markAll);
addEventListener("load", () => (window.MathJax?.startup?.promise ?? Promise.resolve()).then(markAll));
markAll();
