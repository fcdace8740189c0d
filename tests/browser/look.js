// Screenshots of a page at two widths, light and dark, and what axe-core finds wrong with it.
//
//   npm install --prefix build/look puppeteer-core axe-core
//   NODE_PATH=build/look/node_modules node tests/browser/look.js URL FOLDER
//
// Ends with 1 if axe-core finds something serious or critical, or if a page is wider than its window. CHROMIUM names the
// browser (default: /usr/bin/chromium). A tall page becomes several pictures of 2,400 pixels.
const fs = require('fs'), path = require('path'), puppeteer = require('puppeteer-core');
const [url, folder] = process.argv.slice(2), tallest = 2400;

async function look(browser, width, scheme) {
  // A context each: some pages remember a choice of light or dark.
  const page = await (await browser.createBrowserContext()).newPage();
  await page.setBypassCSP(true);
  await page.emulateMediaFeatures([{name: 'prefers-color-scheme', value: scheme}]);
  await page.setViewport({width, height: 900, isMobile: width < 500, hasTouch: width < 500});
  await page.goto(url, {waitUntil: 'load'});
  await new Promise(done => setTimeout(done, 300));
  const [wide, high] = await page.evaluate(() => {
    const all = document.documentElement;
    return [all.scrollWidth, all.scrollHeight];
  });
  for (let y = 0; y < high; y += tallest) {
    const clip = {x: 0, y, width, height: Math.min(tallest, high - y)};
    const name = path.join(folder, `${width}-${scheme}-${y / tallest}.png`);
    await page.screenshot({path: name, clip, captureBeyondViewport: true});
  }
  await page.addScriptTag({content: fs.readFileSync(require.resolve('axe-core'), 'utf8')});
  const found = await page.evaluate(async () => (await axe.run()).violations.map(one => ({
    impact: one.impact, id: one.id, nodes: one.nodes.map(node => node.html.slice(0, 120)),
  })));
  for (const {impact, id, nodes} of found)
    console.log(`${width} ${scheme}: ${impact}: ${id}, ${nodes.length} of them, the first ${nodes[0]}`);
  if (wide > width) console.log(`${width} ${scheme}: the page is ${wide} pixels wide`);
  return found.some(({impact}) => impact === 'serious' || impact === 'critical') || wide > width;
}

(async () => {
  fs.mkdirSync(folder, {recursive: true});
  const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
  const browser = await puppeteer.launch({executablePath, args: ['--no-sandbox', '--hide-scrollbars']});
  let bad = false;
  for (const width of [1280, 390])
    for (const scheme of ['light', 'dark']) bad = await look(browser, width, scheme) || bad;
  await browser.close();
  console.log(bad ? 'there are faults' : `no serious fault; pictures in ${folder}`);
  process.exitCode = bad ? 1 : 0;
})();
