// Creates and finds elements. Text is written as text only: nothing here takes markup.

/** Returns a new element with attributes and children. `on…` properties are listeners. */
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

/** Returns a copy of a template, and its parts by their `data-part` names. */
export function fromTemplate(id) {
  const root = document.getElementById(id).content.firstElementChild.cloneNode(true);
  const parts = {};
  for (const part of root.querySelectorAll("[data-part]")) {
    parts[part.dataset.part] = part;
  }
  return { root, parts };
}

/** Returns an element that isolates the writing direction of foreign text. */
export function isolated(text) {
  return element("bdi", {}, text);
}

/** Shows or hides an element. */
export function show(part, shown) {
  part.hidden = !shown;
}

/** Sets a text, only if it differs: a live region would announce it again. */
export function setText(part, text) {
  if (part.textContent !== text) {
    part.textContent = text;
  }
}

/** Announces a text to screen readers. */
export function announce(text) {
  const live = document.getElementById("announcer");
  // A repeated sentence must differ to be announced.
  live.textContent = live.textContent === text ? `${text}\u00a0` : text;
}

/** Copies a text. Selects it if the clipboard is not available, as on a page over plain HTTP. */
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

/** Makes a button copy a text, and show the result for a moment. */
export function bindCopyButton(button, text, field) {
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
