// Read-outs under the pointer, a finger and the arrow keys; copying; cues of wide tables. The page is complete without it.
for (const plot of document.querySelectorAll('[data-chart]')) {
  const chart = JSON.parse(plot.dataset.chart), cursor = plot.querySelector('.cursor');
  const note = plot.parentElement.querySelector('.readout'), frame = plot.querySelector('svg');
  const wide = chart.high - chart.low, last = s => s.x[s.x.length - 1];
  // The curve that goes furthest, and of those the finest, is the one that is walked along.
  const further = (a, b) => last(b) > last(a) || last(b) === last(a) && b.x.length > a.x.length ? b : a;
  const main = chart.series.reduce(further);
  const nearest = (xs, x) => xs.reduce((best, v, i) => Math.abs(v - x) < Math.abs(xs[best] - x) ? i : best, 0);
  let index = -1;
  const show = to => {
    index = Math.min(main.x.length - 1, Math.max(0, to));
    const at = main.x[index], place = (wide > 0 ? (at - chart.low) / wide : 0.5) * 100 + '%';
    cursor.setAttribute('x1', place);
    cursor.setAttribute('x2', place);
    cursor.classList.add('on');
    const near = (chart.marks || []).filter(([x]) => Math.abs(x - at) <= wide / 100).map(([, label]) => ' · ' + label);
    note.textContent = chart.x + ' ' + at + chart.series.map(s => {
      const i = nearest(s.x, at);
      const value = s.y[i] === null ? 'not finite' : s.y[i];
      return ` · ${s.name} ${value}` + (s.x[i] === at ? '' : ` (at ${s.x[i]})`);
    }).join('') + near.join('');
  };
  const hide = () => { index = -1; cursor.classList.remove('on'); note.textContent = '\u00a0'; };
  const point = event => {
    const box = frame.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    show(nearest(main.x, chart.low + share * wide));
  };
  plot.addEventListener('pointermove', point);
  plot.addEventListener('pointerdown', point);
  // What a finger asked for stays when it is lifted.
  plot.addEventListener('pointerleave', event => { if (event.pointerType === 'mouse') hide(); });
  const steps = {ArrowRight: 1, ArrowLeft: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity};
  plot.addEventListener('keydown', event => {
    if (event.key === 'Escape') hide();
    else if (event.key in steps) {
      show(index < 0 && Number.isFinite(steps[event.key]) ? 0 : Math.max(index, 0) + steps[event.key]);
      event.preventDefault();
    }
  });
  plot.addEventListener('blur', hide);
  plot.tabIndex = 0;
  plot.setAttribute('role', 'group');
  plot.setAttribute('aria-label', frame.querySelector('title').textContent + ': values by the arrow keys');
}
for (const button of document.querySelectorAll('.copy')) {
  const code = button.previousElementSibling;
  button.hidden = false;
  button.addEventListener('click', async () => {
    getSelection().selectAllChildren(code);
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = 'Copied';
    } catch {
      // Without leave to write, the selected text can be copied by hand.
      button.textContent = document.execCommand('copy') ? 'Copied' : 'Selected';
    }
    setTimeout(() => { button.textContent = 'Copy'; }, 2000);
  });
}
const cues = () => {
  for (const box of document.querySelectorAll('.scroll')) box.classList.toggle('wide', box.scrollWidth > box.clientWidth + 1);
};
addEventListener('resize', cues);
addEventListener('toggle', cues, true);
cues();
let opened = [];
addEventListener('beforeprint', () => {
  opened = [...document.querySelectorAll('details:not([open])')];
  for (const one of opened) one.open = true;
});
addEventListener('afterprint', () => { for (const one of opened) one.open = false; });
for (const table of document.querySelectorAll('.sortable table')) {
  const heads = [...table.querySelectorAll('thead th')], body = table.querySelector('tbody');
  heads.forEach((head, column) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'sort';
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener('click', () => {
      const down = head.getAttribute('aria-sort') === 'ascending';
      for (const other of heads) other.removeAttribute('aria-sort');
      head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      const key = row => row.cells[column].textContent.replace(/,/g, '').replace('−', '-');
      const number = text => text.trim() !== '' && Number.isFinite(Number(text));
      // What isn't a number, such as a dash, stands last either way.
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (number(x) && number(y)) return down ? y - x : x - y;
        if (number(x) !== number(y)) return number(x) ? -1 : 1;
        return down ? y.localeCompare(x) : x.localeCompare(y);
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}
