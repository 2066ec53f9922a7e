// What the search shows of a page is from its article, not from the buttons above it; cells and items stay apart.
if (typeof Search !== "undefined") {
  Search.htmlToText = (page, anchor) => {
    const parsed = new DOMParser().parseFromString(page, "text/html");
    parsed.querySelectorAll(".headerlink, script, style").forEach((one) => one.remove());
    parsed.querySelectorAll("h1, h2, h3, p, dt, dd, td, th, li, text").forEach((one) => one.append(" "));
    const article = parsed.querySelector("article");
    return ((anchor && article.querySelector(anchor)) || article).textContent;
  };
}
