// Creates and finds elements. Text is written as text only: nothing here takes markup.

/** A new element with attributes, and with texts and elements in it. `on…` properties are listeners. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) {
      made.addEventListener(key.slice(2), value);
    } else if (value === true) {
      made.setAttribute(key, "");
    } else if (value !== false && value !== null && value !== undefined) {
      made.setAttribute(key, value);
    }
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** A copy of a template, and its parts by the names in their `data-part`. */
export function fromTemplate(id) {
  const root = document.getElementById(id).content.firstElementChild.cloneNode(true);
  const parts = {};
  for (const part of root.querySelectorAll("[data-part]")) {
    parts[part.dataset.part] = part;
  }
  return { root, parts };
}

/** Foreign text, isolated from the writing direction around it. */
export function foreign(text) {
  return element("bdi", {}, text);
}

/** Shows an element if there is something in it to show. */
export function show(part, shown) {
  part.hidden = !shown;
}

/** Sets a text without touching the document if it is there already: a live region would say it again. */
export function setText(part, text) {
  if (part.textContent !== text) {
    part.textContent = text;
  }
}

/** Announces a text to screen readers. */
export function announce(text) {
  const live = document.getElementById("live");
  // A repeated sentence must differ to be announced.
  live.textContent = live.textContent === text ? `${text}\u00a0` : text;
}

/** Copies a text. Without the clipboard, which a page over plain http does not get, selects it for the user to copy. */
export async function copy(text, field) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    if (field instanceof HTMLInputElement) {
      field.focus();
      field.select();
    } else if (field) {
      getSelection().selectAllChildren(field);
    }
    return false;
  }
}

/** Makes a button copy a text, and say so on itself for a moment. */
export function copies(button, text, field) {
  const label = button.textContent;
  let back = 0;
  button.addEventListener("click", async () => {
    const copied = await copy(text(), field?.());
    button.textContent = copied ? "Copied" : "Selected: copy it now";
    announce(button.textContent);
    clearTimeout(back);
    back = setTimeout(() => (button.textContent = label), 2500);
  });
}
