// What a notebook's page can do beyond reading: fold all code, say where one is, and name what is wider than the page.
const button = document.querySelector(".about button"), codes = [...document.querySelectorAll("details.code")];
button.hidden = !codes.length;
if (matchMedia("(max-width: 46rem)").matches) {  // on a phone, what every notebook begins with is a screen of its own
  for (const code of codes) if (/^Parameters/.test(code.textContent) || /^(import|from) /.test(code.querySelector("pre").textContent)) code.open = false;
}
button.onclick = () => {
  const open = codes.some(code => code.open);
  for (const code of codes) code.open = !open;
  button.textContent = open ? "Unfold all code" : "Fold all code";
};

const links = [...document.querySelectorAll(".contents a")];
const headings = links.map(link => document.getElementById(decodeURIComponent(link.hash.slice(1))));
function follow() {
  const passed = headings.findLastIndex(heading => heading.getBoundingClientRect().top < innerHeight / 3);
  links.forEach((link, index) => link.setAttribute("aria-current", index === passed));
}
addEventListener("scroll", follow, { passive: true });
follow();

// A frame that scrolls can be reached by keys, and says that there is more.
const frames = [...document.querySelectorAll("figure.table > div")];
function measure() {
  for (const frame of frames) {
    const wide = frame.scrollWidth > frame.clientWidth;
    frame.parentElement.classList.toggle("wide", wide);
    if (wide) frame.tabIndex = 0; else frame.removeAttribute("tabindex");
  }
  for (const figure of document.querySelectorAll("figure:not(.table)")) {  // on a phone a picture keeps its size
    const wide = figure.scrollWidth > figure.clientWidth + 1;
    figure.classList.toggle("pan", wide);
    if (wide) figure.tabIndex = 0; else figure.removeAttribute("tabindex");
  }
}
addEventListener("resize", measure);
addEventListener("load", measure);  // pictures have their widths by then
measure();
