// The form that creates an invitation for guests of a room.

import { announce, setText, show } from "./dom.js";
import { formatDateTime } from "./format.js";
import { malformed } from "./http.js";
import { bindSubmit } from "./sign-in.js";

/** Shows the form to users, and replaces the guest link by each new invitation. Returns the cleanup. */
export function bindInvite(session, room, parts) {
  show(parts.invite, session.isUser);
  const { expiresIn, uses } = parts.invite.elements;
  const create = async () => {
    const body = { room, expiresIn: Number(expiresIn.value) };
    if (uses.value !== "") body.uses = Number(uses.value);
    const { data } = await session.request({ method: "POST", path: "/auth/invitations", body });
    const { url, expiresAt } = data ?? {};
    if (typeof url !== "string" || !URL.canParse(url, location.origin)) throw malformed();
    setText(parts.link, new URL(url, location.origin).href);
    setText(parts.linkHint, `Guests with this link can read this room until ${formatDateTime(expiresAt) ?? "it expires"}.`);
    announce("The link is an invitation now. You can copy it.");
  };
  const sentence = (problem) =>
    problem.kind === "forbidden" ? "You may not invite guests to this room, or guests are not allowed." : problem.message;
  return bindSubmit(parts.invite, parts.inviteError, create, sentence);
}
