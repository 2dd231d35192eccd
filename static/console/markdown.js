// Renders a subset of Markdown: paragraphs, headings, lists and bold text. Markup stays in the document as hidden text, so that the text
// content of the result equals the input, character by character.

import { element } from "./dom.js";

const ITEM = /^([ \t]*)((?:[-*•–]|\d{1,3}[.)])[ \t]+)(?=\S)/;
const BOLD = /\*\*(?!\s)([^*\r\n]+)(?<!\s)\*\*/g;
const HEADING = /^(#{1,6}[ \t]+)(?=\S)/;
/** The maximum indentation of a list. */
const MAX_DEPTH = 3;

/**
 * Renders `text` into `container`. Marks everything after the first `knownLength` characters as new.
 */
export function render(container, text, knownLength = text.length) {
  const writer = new Writer(knownLength);
  for (const block of blocks(text)) {
    writer[block.kind](block.lines);
  }
  container.replaceChildren(writer.fragment());
}

/** Returns the length of the common prefix of two texts, cut back to the start of a word. */
export function commonPrefixLength(before, text) {
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

/** Splits a text into blocks: runs of lines of one kind. Each line includes its line break. */
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
  if (line.trim() === "") return "blank";
  if (HEADING.test(line)) return "heading";
  const goesOn = before === "list" && /^[ \t]{2,}/.test(line);
  return ITEM.test(line) || goesOn ? "list" : "paragraph";
}

/** Renders blocks, and counts the characters written. */
class Writer {
  #fragment = document.createDocumentFragment();
  #knownLength;
  #written = 0;

  constructor(knownLength) {
    this.#knownLength = knownLength;
  }

  fragment() {
    return this.#fragment;
  }

  blank(lines) {
    this.#text(this.#fragment, lines.join(""));
  }

  paragraph(lines) {
    const { text, end } = splitLineBreak(lines.join(""));
    const paragraph = element("p", { dir: "auto" });
    this.#inline(paragraph, text);
    this.#fragment.append(paragraph);
    this.#text(this.#fragment, end);
  }

  heading([line]) {
    const { text, end } = splitLineBreak(line);
    const [mark] = HEADING.exec(text);
    const heading = element("h3", { dir: "auto" });
    this.#mark(heading, mark, "markup");
    this.#inline(heading, text.slice(mark.length));
    this.#fragment.append(heading);
    this.#text(this.#fragment, end);
  }

  list(lines) {
    const list = element("ul", { role: "list" });
    let item = null;
    for (const line of lines) {
      const [start, indent, mark] = ITEM.exec(line) ?? [];
      if (start !== undefined) {
        const depth = Math.min(MAX_DEPTH, Math.floor(indent.replaceAll("\t", "  ").length / 2));
        item = element("li", { dir: "auto", class: `depth-${depth}` });
        list.append(item);
        this.#mark(item, indent, "markup");
        this.#mark(item, mark, /\d/.test(mark) ? "number" : "bullet");
      }
      this.#inline(item, line.slice(start?.length ?? 0));
    }
    this.#fragment.append(list);
  }

  /** Appends markup: it stays in the text, and is hidden by the style sheet. */
  #mark(parent, text, kind) {
    if (text) {
      parent.append(element("span", { class: `mark ${kind}` }, text));
      this.#written += text.length;
    }
  }

  #inline(parent, text) {
    let end = 0;
    for (const match of text.matchAll(BOLD)) {
      this.#text(parent, text.slice(end, match.index));
      const strong = element("strong");
      this.#mark(strong, "**", "inline");
      this.#text(strong, match[1]);
      this.#mark(strong, "**", "inline");
      parent.append(strong);
      end = match.index + match[0].length;
    }
    this.#text(parent, text.slice(end));
  }

  #text(parent, text) {
    const known = text.slice(0, Math.max(0, this.#knownLength - this.#written));
    const inserted = text.slice(known.length);
    this.#written += text.length;
    if (known) parent.append(known);
    if (inserted) parent.append(parent === this.#fragment ? inserted : element("ins", {}, inserted));
  }
}

/** Splits off the line break at the end of a text. */
function splitLineBreak(whole) {
  const text = whole.replace(/[\r\n]+$/, "");
  return { text, end: whole.slice(text.length) };
}
