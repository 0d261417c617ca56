// The slider: in every picture, left of the line the untouched model, right of it the chosen variant.
for (const figure of document.querySelectorAll(".compare")) {
  const strips = JSON.parse(figure.querySelector("script").textContent);
  const [model, variant] = ["model", "variant"].map(name => figure.querySelector("select." + name));
  const [before, after] = ["before", "after"].map(name => figure.querySelector("img." + name));
  const cut = figure.querySelector(".cut"), stage = figure.querySelector(".stage");
  const columns = Number(figure.dataset.columns);
  stage.style.setProperty("--columns", columns);
  const source = data => "data:image/webp;base64," + data;
  function pick() {
    const [name, data] = strips[model.value][Number(variant.value)];
    after.src = source(data);
    after.alt = "Pictures with the layers changed, " + name;
  }
  function fill() {
    variant.replaceChildren(...strips[model.value].slice(1).map(([name], i) => new Option(name, i + 1)));
    variant.selectedIndex = Math.max(0, [...variant.options].findIndex(option => option.text.endsWith("(low)")));
    before.src = source(strips[model.value][0][1]);
    pick();
  }
  function slide() {
    stage.style.setProperty("--cut", cut.value + "%");
  }
  if (!model.value) { figure.hidden = true; continue; }
  model.onchange = fill; variant.onchange = pick; cut.oninput = slide;
  stage.onpointermove = event => {  // the line follows within the picture under the pointer
    const box = stage.getBoundingClientRect();
    cut.value = 100 * (columns * (event.clientX - box.left) / box.width % 1); slide();
  };
  fill(); slide();
}
