// The door: sign in, or come in as a guest.

import { announce, fromTemplate, setText, show } from "./dom.js";

/** The view for somebody who is not in yet. `room` is where the address leads; `null` if nowhere. */
export function door(session, room) {
  const { root, parts } = fromTemplate("view-door");
  const waits = [];
  setText(parts.notice, session.notice);
  show(parts.notice, session.notice !== "");

  if (room === null) {
    const enter = () => session.enterAsGuest(parts.guest.elements.room.value.trim());
    waits.push(submits(parts.guest, parts.guestError, enter, guestSentence));
  } else {
    setText(parts.room, room);
    show(parts.invitation, true);
    show(parts.guest, false);
    parts.signIn.querySelector("h2").textContent = "I have an account";
    parts.signInButton.classList.remove("main");
    const enter = () => session.enterAsGuest(room);
    waits.push(submits(parts.invitation, parts.invitationError, enter, guestSentence));
  }

  const { email, password } = parts.signIn.elements;
  const signIn = () => session.signIn(email.value, password.value);
  const failed = (problem) => {
    const wrong = problem.kind === "unauthorized";
    for (const field of [email, password]) {
      field.setAttribute("aria-invalid", String(wrong));
    }
    if (wrong) {
      password.focus();
      password.select();
    }
    return signInSentence(problem);
  };
  waits.push(submits(parts.signIn, parts.signInError, signIn, failed));

  const title = room === null ? "Sign in" : `Invitation to ${room}`;
  return { root, title, notice: session.notice, stop: () => waits.forEach((stop) => stop()) };
}

/** Does `work` when the form is sent; says what went wrong, and keeps the button still for as long as the server asks. */
function submits(form, error, work, sentence) {
  const button = form.querySelector("button[type=submit]");
  const label = button.textContent;
  let timer = 0;
  // Not `disabled`, which would throw away the focus of who pressed it.
  const still = (isStill) => button.setAttribute("aria-disabled", String(isStill));
  const idle = () => {
    still(false);
    button.textContent = label;
  };
  const wait = (until) => {
    const left = Math.ceil((until - Date.now()) / 1000);
    if (left <= 0) {
      setText(error, "");
      announce("You can try again now.");
      idle();
      return;
    }
    button.textContent = `${label} (in ${left} s)`;
    timer = setTimeout(() => wait(until), 250);
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.getAttribute("aria-disabled") === "true") {
      return;
    }
    still(true);
    button.textContent = "One moment …";
    setText(error, "");
    try {
      await work();
    } catch (problem) {
      idle();
      setText(error, sentence(problem));
      if (problem.retryAfter) {
        still(true);
        wait(Date.now() + problem.retryAfter * 1000);
      }
    }
  });
  return () => clearTimeout(timer);
}

function signInSentence(problem) {
  switch (problem.kind) {
    case "unauthorized":
      return "The e-mail or the password is not right.";
    case "away":
      return "The server can’t be reached. Check the connection and try again.";
    case "throttled":
      return "Too many tries. Wait a moment, then try again.";
    default:
      return problem.message;
  }
}

function guestSentence(problem) {
  return problem.kind === "forbidden" ? "This server lets no guests in. Sign in with an account." : signInSentence(problem);
}
