// Repeated work: at an interval, or with exponential backoff after failures. Paused while the page is hidden.

import { Problem, malformed } from "./http.js";

/** Milliseconds before the first retry, and the maximum. */
const FIRST_RETRY = 2_000;
const LONGEST_RETRY = 60_000;

/** One piece of work, such as reading a catch-up. Fires `change` when its state or its waiting time changes. */
export class Repeated extends EventTarget {
  /** Milliseconds from one success to the next try; `null` for no next one. */
  #every = null;
  #work;
  #running = null;
  #due = null;
  #failures = 0;
  #timer = setInterval(() => this.#tick(), 500);

  /** The problem of the last run; `null` after a success. */
  problem = null;
  /** The last success, in milliseconds since 1970. */
  succeededAt = null;

  constructor(work) {
    super();
    this.#work = work;
  }

  get isRunning() {
    return this.#running !== null;
  }

  /** Seconds until the next retry; `null` if there is none. */
  get retryIn() {
    return this.problem && this.#due !== null ? Math.max(0, Math.ceil((this.#due - Date.now()) / 1000)) : null;
  }

  set every(milliseconds) {
    this.#every = milliseconds;
    if (!this.problem) {
      this.#due = milliseconds === null || this.succeededAt === null ? null : this.succeededAt + milliseconds;
    }
  }

  /** Runs it now, unless it is running. */
  run() {
    this.#running ??= this.#once().finally(() => {
      this.#running = null;
      this.#change();
    });
    return this.#running;
  }

  /** Stops it for good. */
  stop() {
    clearInterval(this.#timer);
    this.#timer = null;
  }

  async #once() {
    this.#due = null;
    await Promise.resolve();
    this.#change();
    try {
      await this.#work();
      this.problem = null;
      this.#failures = 0;
      this.succeededAt = Date.now();
      this.every = this.#every;
    } catch (error) {
      const problem = error instanceof Problem ? error : malformed();
      // Any other error is a bug of this page: logged, and the page goes on.
      if (problem !== error) console.error(error);
      this.problem = problem;
      this.#due = problem.passes ? Date.now() + this.#wait(problem) : null;
      this.#failures += 1;
    }
  }

  /** Returns the longer of the backoff with jitter and `Retry-After`. */
  #wait(problem) {
    const own = Math.min(LONGEST_RETRY, FIRST_RETRY * 2 ** this.#failures) * (0.75 + Math.random() / 2);
    return Math.max(own, (problem.retryAfter ?? 0) * 1000);
  }

  #tick() {
    if (document.hidden) {
      return;
    }
    if (this.#due !== null && Date.now() >= this.#due) {
      this.run();
    } else {
      this.#change();
    }
  }

  #change() {
    if (this.#timer !== null) {
      this.dispatchEvent(new Event("change"));
    }
  }
}
