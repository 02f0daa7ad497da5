// Returns [text, contrast ratio] for every text node, by the formula of WCAG 2.2.
const channel = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const parsed = colour => colour.match(/[\d.]+/g).map(Number);
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const backdrop = element => {
  for (let at = element; at; at = at.parentElement) {
    const colour = parsed(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
  if (!text || element.closest("title, desc")) continue;
  const style = getComputedStyle(element);
  const pair = [luminance(parsed(element.closest("svg") ? style.fill : style.color)), luminance(backdrop(element))];
  found.push([text, (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)]);
}
return found;
