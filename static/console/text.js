// Makes paragraphs and lists of a catch-up's text. Every character of it ends up in the document, in its order, as text: the
// text of what is rendered is the text that came, byte for byte.

import { element } from "./dom.js";

const ITEM = /^([ \t]*)((?:[-*•–]|\d{1,3}[.)])[ \t]+)(?=\S)/;
const HEADING = /^(#{1,6}[ \t]+)(?=\S)/;
/** Deeper lists than this are not indented further. */
const DEEPEST = 3;

/**
 * Renders `text` into `container`. What comes after the first `known` characters is marked as new; all of it if `known` is 0,
 * none if it is the length of the text.
 */
export function render(container, text, known = text.length) {
  const writer = new Writer(known);
  for (const block of blocks(text)) {
    writer[block.kind](block.lines);
  }
  container.replaceChildren(writer.done());
}

/** How many characters two texts share from their beginning on, up to where a word begins. */
export function shared(before, text) {
  const most = Math.min(before.length, text.length);
  let at = 0;
  while (at < most && before[at] === text[at]) {
    at += 1;
  }
  if (at === before.length) {
    return at + /^\s*/.exec(text.slice(at))[0].length;
  }
  while (at > 0 && !/\s/.test(text[at - 1])) {
    at -= 1;
  }
  return at;
}

/** Runs of lines of one kind. Each line has its line break at its end. */
function blocks(text) {
  const found = [];
  for (const line of text.split(/(?<=\r\n|\n|\r(?!\n))/)) {
    const last = found.at(-1);
    const kind = kindOf(line, last?.kind);
    if (last?.kind === kind && kind !== "heading") {
      last.lines.push(line);
    } else {
      found.push({ kind, lines: [line] });
    }
  }
  return found;
}

function kindOf(line, before) {
  if (line.trim() === "") return "gap";
  if (HEADING.test(line)) return "heading";
  const goesOn = before === "list" && /^[ \t]{2,}/.test(line);
  return ITEM.test(line) || goesOn ? "list" : "paragraph";
}

/** Writes blocks, and knows how much of the text it has written. */
class Writer {
  #fragment = document.createDocumentFragment();
  #known;
  #written = 0;

  constructor(known) {
    this.#known = known;
  }

  done() {
    return this.#fragment;
  }

  gap(lines) {
    this.#text(this.#fragment, lines.join(""));
  }

  paragraph(lines) {
    const { text, end } = withoutItsEnd(lines.join(""));
    const paragraph = element("p", { dir: "auto" });
    this.#text(paragraph, text);
    this.#fragment.append(paragraph);
    this.#text(this.#fragment, end);
  }

  heading([line]) {
    const { text, end } = withoutItsEnd(line);
    const [mark] = HEADING.exec(text);
    const heading = element("h3", { dir: "auto" });
    this.#mark(heading, mark, "aside");
    this.#text(heading, text.slice(mark.length));
    this.#fragment.append(heading);
    this.#text(this.#fragment, end);
  }

  list(lines) {
    const list = element("ul", { role: "list" });
    let item = null;
    for (const line of lines) {
      const [start, indent, mark] = ITEM.exec(line) ?? [];
      if (start !== undefined) {
        const depth = Math.min(DEEPEST, Math.floor(indent.replaceAll("\t", "  ").length / 2));
        item = element("li", { dir: "auto", class: `depth-${depth}` });
        list.append(item);
        this.#mark(item, indent, "aside");
        this.#mark(item, mark, /\d/.test(mark) ? "number" : "bullet");
      }
      this.#text(item, line.slice(start?.length ?? 0));
    }
    this.#fragment.append(list);
  }

  /** What stands for a look: it is in the text, and shown in another way. */
  #mark(parent, text, kind) {
    if (text) {
      parent.append(element("span", { class: `mark ${kind}` }, text));
      this.#written += text.length;
    }
  }

  #text(parent, text) {
    const old = text.slice(0, Math.max(0, this.#known - this.#written));
    const fresh = text.slice(old.length);
    this.#written += text.length;
    if (old) parent.append(old);
    if (fresh) parent.append(parent === this.#fragment ? fresh : element("ins", {}, fresh));
  }
}

/** A text, and the line break at its end. */
function withoutItsEnd(whole) {
  const text = whole.replace(/[\r\n]+$/, "");
  return { text, end: whole.slice(text.length) };
}
