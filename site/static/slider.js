// A slider without a kernel: the ranges choose a frame, and the background of the picture moves there.
function moveTo(steer) {
  const ranges = [...steer.querySelectorAll("input[type=range]")];
  let frame = 0;
  for (const range of ranges) {
    const options = JSON.parse(range.dataset.options);
    const value = options[range.value];
    range.nextElementSibling.value = value;
    range.setAttribute("aria-valuetext", value);
    frame = frame * options.length + Number(range.value);
  }
  const { columns, rows } = steer.dataset;
  const part = (place, count) => (count > 1 ? (100 * place) / (count - 1) : 0);
  const [x, y] = [part(frame % columns, columns), part(Math.floor(frame / columns), rows)];
  steer.querySelector(".frame").style.backgroundPosition = `${x}% ${y}%`;
}

// On the home page the picture moves by itself for four seconds, unless the reader prefers stillness or takes over.
function play(steer) {
  const range = steer.querySelectorAll("input[type=range]")[Number(steer.dataset.play)];
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const start = Number(range.value), count = Number(range.max) + 1;
  let step = still ? 2 * count : 0;
  steer.addEventListener("pointerdown", () => (step = 2 * count));
  steer.addEventListener("keydown", () => (step = 2 * count));
  const timer = setInterval(() => {
    if (++step > 2 * count) return clearInterval(timer);
    const place = (start + step) % (2 * count);
    range.value = place < count ? place : 2 * count - 1 - place;
    moveTo(steer);
  }, 4000 / (2 * count));
}

for (const steer of document.querySelectorAll(".steer")) {
  steer.addEventListener("input", () => moveTo(steer));
  moveTo(steer);
  if (steer.dataset.play) play(steer);
}
