// Repeats an operation: at an interval, or with exponential backoff after failures. Paused while the page is hidden.

import { Problem, malformed } from "./http.js";

/** Milliseconds before the first retry, and the maximum. */
const MIN_RETRY = 2_000;
const MAX_RETRY = 60_000;

/** Repeats one operation, such as reading a catch-up. Fires `change` when its state or its waiting time changes. */
export class Poller extends EventTarget {
  /** Milliseconds from a success to the next run; `null` for none. */
  #interval = null;
  #work;
  #running = null;
  #nextRunAt = null;
  #failures = 0;
  #timer = setInterval(() => this.#tick(), 500);
  #onOnline = () => this.problem?.kind === "unreachable" && this.run();

  /** The problem of the last run; `null` after a success. */
  problem = null;
  /** The last success, in milliseconds since 1970. */
  succeededAt = null;

  constructor(work) {
    super();
    this.#work = work;
    addEventListener("online", this.#onOnline);
  }

  get isRunning() {
    return this.#running !== null;
  }

  /** Seconds until the next retry; `null` if there is none. */
  get retryIn() {
    return this.problem && this.#nextRunAt !== null ? Math.max(0, Math.ceil((this.#nextRunAt - Date.now()) / 1000)) : null;
  }

  set interval(milliseconds) {
    this.#interval = milliseconds;
    if (!this.problem) {
      this.#nextRunAt = milliseconds === null || this.succeededAt === null ? null : this.succeededAt + milliseconds;
    }
  }

  /** Runs it now, unless it is running, and resets the backoff. */
  run() {
    this.#failures = 0;
    return this.#start();
  }

  #start() {
    this.#running ??= this.#runOnce().finally(() => {
      this.#running = null;
      this.#dispatchChange();
    });
    return this.#running;
  }

  /** Stops it for good. */
  stop() {
    removeEventListener("online", this.#onOnline);
    clearInterval(this.#timer);
    this.#timer = null;
  }

  async #runOnce() {
    this.#nextRunAt = null;
    await Promise.resolve();
    this.#dispatchChange();
    try {
      await this.#work();
      this.problem = null;
      this.#failures = 0;
      this.succeededAt = Date.now();
      this.interval = this.#interval;
    } catch (error) {
      const problem = error instanceof Problem ? error : malformed();
      // Any other error is a bug of this page: it is logged, and the page continues.
      if (problem !== error) console.error(error);
      this.problem = problem;
      this.#nextRunAt = problem.isRetryable ? Date.now() + this.#retryDelay(problem) : null;
      this.#failures += 1;
    }
  }

  /** Returns the longer of the backoff with jitter and `Retry-After`. */
  #retryDelay(problem) {
    const backoff = Math.min(MAX_RETRY, MIN_RETRY * 2 ** this.#failures) * (0.75 + Math.random() / 2);
    return Math.max(backoff, (problem.retryAfter ?? 0) * 1000);
  }

  #tick() {
    if (document.hidden) {
      return;
    }
    if (this.#nextRunAt !== null && Date.now() >= this.#nextRunAt) {
      this.#start();
    } else {
      this.#dispatchChange();
    }
  }

  #dispatchChange() {
    if (this.#timer !== null) {
      this.dispatchEvent(new Event("change"));
    }
  }
}
