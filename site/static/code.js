// Each line becomes a block, so that what does not fit goes on below, further in than the line begins.
// A line of code breaks at a point or behind a bracket, before it breaks a word.
const TABLE = 80; // letters: where an output has longer lines in columns, it is moved along instead
const PARTS = /(<[^>]*>|\d\.|\.\d)|([([{])|(\.)(?=\w|<)|(-&gt;)/g; // a tag or a number's point, an opening bracket, a point, an arrow
const soft = (code) =>
  code.replace(PARTS, (all, whole, open, point, arrow) => {
    if (whole) return whole;
    if (arrow) return `<span class="whole">${arrow}</span>`;
    return open ? `${open}<wbr>` : `<wbr>${point}`;
  });

function split(pre, change) {
  const lines = pre.innerHTML.replace(/\n$/, "").split("\n");
  pre.innerHTML = lines.map((line) => `<span class="line">${change(line)}\n</span>`).join("");
  for (const line of pre.querySelectorAll(".line")) {
    const begins = line.textContent.match(/^((>>>|\.\.\.) )?\s*/)[0].length;
    line.style.setProperty("--in", `${begins + 4}ch`);
  }
}

for (const pre of document.querySelectorAll("div:is(.highlight-python, .highlight-sh, .doctest) pre")) split(pre, soft);
const inColumns = (line) => line.length > TABLE && /\S {2,}\S/.test(line);
const measured = (line) => line.replace(/≈ *[-+\d][\d.,]*( %)?/g, '<span class="whole">$&</span>');
for (const pre of document.querySelectorAll("div.cell_output .stream pre")) {
  const lines = pre.textContent.split("\n");
  if (lines.some(inColumns)) continue;
  split(pre, measured);
  pre.classList.toggle("sentences", lines.some((line) => line.length > TABLE));
}

// Formulas of a docstring, here and on a card: where there is no room, a line is broken between two of them first.
const together = (line) =>
  line.split(/( {2,})/).map((part) => (part.trim() ? `<span class="part">${part}</span>` : part)).join("");
for (const pre of document.querySelectorAll("dl.py .highlight-text pre, pre.formula")) {
  split(pre, together);
  pre.classList.add("formula");
}

// Long names break behind a point or an underscore.
for (const name of document.querySelectorAll(".sig .pre, .toctree-wrapper a, .genindextable a, :is(h1, h2, h3)")) {
  if (name.matches(".sig *, a") || name.textContent.startsWith("course_lib.")) {
    name.innerHTML = name.innerHTML.replace(/(<[^>]*>)|([._])(?=\w)/g, (all, tag, mark) => tag ?? `${mark}<wbr>`);
  }
}
