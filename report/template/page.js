// The slider: left of the line the baseline, right of it the chosen variant.
for (const figure of document.querySelectorAll(".compare")) {
  const strips = JSON.parse(figure.querySelector("script").textContent);
  const [model, variant] = ["model", "variant"].map(name => figure.querySelector("select." + name));
  const [before, after] = ["before", "after"].map(name => figure.querySelector("img." + name));
  const cut = figure.querySelector(".cut"), line = figure.querySelector(".line");
  const source = data => "data:image/webp;base64," + data;
  const stacks = {transformer_blocks: "MM-DiT", joint_transformer_blocks: "MM-DiT", single_transformer_blocks: "single"};
  const words = name => { const [stack, rest] = name.split("/"); return (stacks[stack] || stack) + ": " + rest; };
  function pick() {
    const [name, data] = strips[model.value][Number(variant.value)];
    after.src = source(data);
    after.alt = "Pictures of the six prompts with the layers changed, " + words(name);
  }
  function fill() {
    variant.replaceChildren(...strips[model.value].slice(1).map(([name], i) => new Option(words(name), i + 1)));
    before.src = source(strips[model.value][0][1]);
    pick();
  }
  function slide() {
    before.style.clipPath = `inset(0 ${100 - cut.value}% 0 0)`;
    line.style.left = cut.value + "%";
  }
  if (!model.value) { figure.hidden = true; continue; }
  model.onchange = fill; variant.onchange = pick; cut.oninput = slide;
  figure.querySelector(".stage").onpointermove = event => {
    if (event.pointerType === "mouse" && !event.buttons) return;
    const box = event.currentTarget.getBoundingClientRect();
    cut.value = 100 * (event.clientX - box.left) / box.width; slide();
  };
  fill(); slide();
}
