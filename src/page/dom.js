// The two ways in which this page makes elements. Text only ever becomes text nodes, so nothing that a
// stranger wrote can become markup.

export const byId = (id) => document.getElementById(id);

/** `props` are attributes; `on*` functions are listeners; undefined and false are left out. */
export function el(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== false));
  return element;
}

/**
 * Makes the children of `parent` the rows of `items`, keeping each element whose item looks as before, so that
 * focus, scroll position and what a screen reader has already said survive.
 */
export function reconcile(parent, items, keyOf, build) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let previous = null;
  for (const item of items) {
    const key = keyOf(item);
    const look = JSON.stringify(item);
    let row = known.get(key);
    known.delete(key);
    if (row?.look !== look) row = rebuilt(row, build(item), key, look);
    const place = previous ? previous.nextSibling : parent.firstChild;
    if (place !== row) parent.insertBefore(row, place);
    previous = row;
  }
  for (const gone of known.values()) gone.remove();
}

function rebuilt(old, row, key, look) {
  row.dataset.key = key;
  row.look = look;
  const focused = old?.contains(document.activeElement) && document.activeElement.dataset.action;
  old?.replaceWith(row);
  if (focused) [...row.querySelectorAll("[data-action]")].find((e) => e.dataset.action === focused)?.focus();
  return row;
}

const hueOf = (id) => [...id].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 8, 0);

export function avatar(id, name) {
  const initial = ([...name.replace(/^[@#!]/, "")][0] ?? "?").toUpperCase();
  return el("span", { class: `avatar hue-${hueOf(id)}`, "data-initial": initial, "aria-hidden": "true" });
}
