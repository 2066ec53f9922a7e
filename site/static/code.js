// Each line of code becomes a block, so that what does not fit goes on below, further in than the line begins.
for (const pre of document.querySelectorAll("div.highlight-python pre, div.doctest pre")) {
  const lines = pre.innerHTML.replace(/\n$/, "").split("\n");
  pre.innerHTML = lines.map((line) => `<span class="line">${line}\n</span>`).join("");
  for (const line of pre.querySelectorAll(".line")) {
    line.style.setProperty("--in", `${line.textContent.search(/\S|$/) + 4}ch`);
  }
}
