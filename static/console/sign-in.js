// The page without a session: sign in, or join as a guest.

import { announce, fromTemplate, setText, show } from "./dom.js";
import { settings } from "./settings.js";

/** Returns the view without a session. `room` is the room in the URL, or `null`. */
export function signInView(session, room) {
  const { root, parts } = fromTemplate("view-sign-in");
  const cleanups = [];
  setText(parts.notice, session.notice);
  show(parts.notice, session.notice !== "");

  // After the end of a session, the room is the user's own.
  const isInvitation = room !== null && session.notice === "";
  show(parts.guest, room === null);
  if (!isInvitation) {
    const enter = () => session.enterAsGuest(parts.guest.elements.room.value.trim());
    cleanups.push(bindSubmit(parts.guest, parts.guestError, enter, guestSentence));
  } else {
    setText(parts.room, room);
    show(parts.invitation, true);
    parts.signIn.querySelector("h2").textContent = parts.tokenForm.querySelector("h2").textContent = "Sign in with an account";
    parts.signInButton.classList.remove("primary");
    parts.tokenButton.classList.remove("primary");
    const enter = () => session.enterAsGuest(room);
    cleanups.push(bindSubmit(parts.invitation, parts.invitationError, enter, guestSentence));
  }

  settings().then(({ passwordLogin }) => {
    show(parts.signIn, passwordLogin);
    show(parts.tokenForm, !passwordLogin);
  });
  const enterWithToken = () => session.enterWithToken(parts.tokenForm.elements.token.value.trim());
  cleanups.push(bindSubmit(parts.tokenForm, parts.tokenError, enterWithToken, tokenSentence));

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
  cleanups.push(bindSubmit(parts.signIn, parts.signInError, signIn, failed));

  const title = isInvitation ? `Invitation to ${room}` : "Sign in";
  return { root, title, notice: session.notice, stop: () => cleanups.forEach((stop) => stop()) };
}

/** Runs `action` when the form is submitted. Shows a failure, and disables the button for `Retry-After`. */
export function bindSubmit(form, error, action, sentence) {
  const button = form.querySelector("button[type=submit]");
  const label = button.textContent;
  let timer = 0;
  // Not `disabled`, which would lose the focus.
  const setDisabled = (isDisabled) => button.setAttribute("aria-disabled", String(isDisabled));
  const enable = () => {
    setDisabled(false);
    button.textContent = label;
  };
  const countDown = (until) => {
    const left = Math.ceil((until - Date.now()) / 1000);
    if (left <= 0) {
      setText(error, "");
      announce("You can try again now.");
      enable();
      return;
    }
    button.textContent = `${label} (in ${left} s)`;
    timer = setTimeout(() => countDown(until), 250);
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.getAttribute("aria-disabled") === "true") {
      return;
    }
    setDisabled(true);
    button.textContent = "Please wait…";
    setText(error, "");
    try {
      await action();
      enable();
    } catch (problem) {
      enable();
      setText(error, sentence(problem));
      if (problem.retryAfter) {
        setDisabled(true);
        countDown(Date.now() + problem.retryAfter * 1000);
      }
    }
  });
  return () => clearTimeout(timer);
}

function signInSentence(problem) {
  switch (problem.kind) {
    case "unauthorized":
      return "Wrong e-mail or password.";
    case "unreachable":
      return "The server can’t be reached. Check the connection and try again.";
    case "throttled":
      return "Too many attempts. Please wait, then try again.";
    default:
      return problem.message;
  }
}

function tokenSentence(problem) {
  const isRejected = problem.kind === "unauthorized";
  return isRejected ? "The server does not accept this token. It may have expired." : signInSentence(problem);
}

function guestSentence(problem) {
  switch (problem.kind) {
    case "forbidden":
      return "Guests are not allowed on this server, or need an invitation. Sign in with an account.";
    case "unauthorized":
      return "This invitation is not valid any more. Ask for a new one, or sign in with an account.";
    default:
      return signInSentence(problem);
  }
}
