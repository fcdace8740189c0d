// The keyboard reaches what scrolls sideways: wide tables, and code before the theme has seen it.
document$.subscribe(() =>
  requestAnimationFrame(() => {
    for (const part of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code")) {
      if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
    }
  }),
);
