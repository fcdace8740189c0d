document$.subscribe(() => {
  // On a phone long cells are wide (site.css).
  for (const cell of document.querySelectorAll(".md-typeset td")) cell.classList.toggle("long", cell.textContent.length > 40);
  // The keyboard reaches what scrolls sideways: wide tables, and code before the theme has seen it.
  requestAnimationFrame(() => {
    for (const part of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code")) {
      if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
    }
  });
  // The theme makes a landmark without a name of each copy button, whenever its code comes into view.
  const plain = () => document.querySelectorAll(".md-code__nav").forEach((nav) => nav.setAttribute("role", "none"));
  new MutationObserver(plain).observe(document.querySelector(".md-content"), { childList: true, subtree: true });
  plain();
});
