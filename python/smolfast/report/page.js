// Read-outs under the pointer, and folded parts opened for print. The page is complete without it.
for (const plot of document.querySelectorAll('[data-chart]')) {
  const chart = JSON.parse(plot.dataset.chart), cursor = plot.querySelector('.cursor');
  const note = plot.parentElement.querySelector('.readout'), frame = plot.querySelector('svg');
  const nearest = (xs, x) => xs.reduce((best, v, i) => Math.abs(v - x) < Math.abs(xs[best] - x) ? i : best, 0);
  plot.addEventListener('pointermove', event => {
    const box = frame.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const x = chart.low + share * (chart.high - chart.low);
    const all = chart.series[0], at = all.x[nearest(all.x, x)];
    const place = chart.high > chart.low ? (at - chart.low) / (chart.high - chart.low) : 0.5;
    cursor.setAttribute('x1', place * 100 + '%');
    cursor.setAttribute('x2', place * 100 + '%');
    cursor.classList.add('on');
    note.textContent = chart.x + ' ' + at + chart.series.map(s => {
      const i = nearest(s.x, at);
      const value = s.y[i] === null ? 'not finite' : s.y[i];
      return ` · ${s.name} ${value}` + (s.x[i] === at ? '' : ` (at ${s.x[i]})`);
    }).join('');
  });
  plot.addEventListener('pointerleave', () => { cursor.classList.remove('on'); note.textContent = '\u00a0'; });
}
let opened = [];
addEventListener('beforeprint', () => {
  opened = [...document.querySelectorAll('details:not([open])')];
  for (const one of opened) one.open = true;
});
addEventListener('afterprint', () => { for (const one of opened) one.open = false; });
