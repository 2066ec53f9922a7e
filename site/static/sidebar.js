// The theme's arrows beside the names of pages have no name of their own for somebody who hears the page.
for (const arrow of document.querySelectorAll(".bd-sidenav summary")) {
  arrow.setAttribute("aria-label", `pages below ${arrow.closest("li").firstElementChild.textContent.trim()}`);
}
