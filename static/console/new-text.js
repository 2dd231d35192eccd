// The button that leads to new text outside the visible part of the page.

import { show } from "./dom.js";

/** Connects `button` to the new text in `container`. Calls `onSeen` when the start of it is visible. */
export class NewTextButton {
  #button;
  #container;
  #observer;

  constructor(button, container, onSeen) {
    this.#button = button;
    this.#container = container;
    this.#observer = new IntersectionObserver((entries) => {
      const { isIntersecting, boundingClientRect, rootBounds } = entries.at(-1);
      button.querySelector("span").textContent = boundingClientRect.top < (rootBounds?.top ?? 0) ? "↑" : "↓";
      show(button, !isIntersecting);
      if (isIntersecting) {
        this.#observer.disconnect();
        onSeen();
      }
    });
    button.addEventListener("click", () => {
      const first = this.#first();
      first.tabIndex = -1;
      first.focus({ preventScroll: true });
      first.scrollIntoView({ block: "center" });
    });
  }

  /** Observes the new text, of `count` versions; none for 0. */
  update(count) {
    this.#observer.disconnect();
    show(this.#button, false);
    const first = this.#first();
    if (count > 0 && first) {
      this.#button.firstChild.textContent = `${count} new `;
      this.#observer.observe(first);
    }
  }

  stop() {
    this.#observer.disconnect();
  }

  #first() {
    return this.#container.querySelector("ins");
  }
}
