// A user's start: a room to open, and the meetings that ended, with their summaries.

import { element, foreign, fromTemplate, setText, show } from "./dom.js";
import { offers } from "./offers.js";
import { Repeated } from "./repeat.js";
import { problemNotice } from "./stopped.js";
import { summary } from "./summary.js";
import { count, dateTime, duration } from "./words.js";

/** So many rooms are listed at a time. */
const PAGE = 20;

/** The view. */
export function home(session, to) {
  const { root, parts } = fromTemplate("view-home");
  const offered = offers(session);
  const open = [];
  let rooms = [];
  let shown = 0;

  const more = () => {
    const next = rooms.slice(shown, shown + PAGE);
    parts.list.append(...next.map((group) => item(session, group, to, open)));
    shown += next.length;
    show(parts.more, shown < rooms.length);
    setText(parts.more, `Show more (${count(rooms.length - shown, "room")} left)`);
  };
  const stopSummaries = () => open.splice(0).forEach((one) => one.stop());
  const work = new Repeated(async () => {
    const { data } = await session.ask({ path: "/meetings" });
    stopSummaries();
    rooms = byRoom(data);
    shown = 0;
    parts.list.replaceChildren();
    more();
    show(parts.empty, rooms.length === 0);
  });
  const update = problemNotice(parts.problem, work, (problem) => `The meetings could not be read. ${problem.message}`);
  work.addEventListener("change", () => {
    show(parts.loading, work.succeededAt === null && !work.problem);
    update();
  });

  parts.side.append(offered.root);
  parts.again.addEventListener("click", () => work.run());
  parts.more.addEventListener("click", () => {
    const first = shown;
    more();
    parts.list.children[first]?.querySelector("button")?.focus();
  });
  opens(parts.open, to);
  work.run();
  const stop = () => {
    work.stop();
    offered.stop();
    stopSummaries();
  };
  return { root, title: "Meetings", stop };
}

/** Makes a form open the room that is typed into it. */
export function opens(form, to) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = form.elements.room.value.trim();
    if (name !== "") to.room(name);
  });
}

/** The meetings by their room, the room first whose last meeting ended last. A summary is of a room, so a room is one entry. */
function byRoom(data) {
  const meetings = (Array.isArray(data) ? data : []).filter((meeting) => typeof meeting?.room_name === "string");
  const ended = (meeting) => Date.parse(meeting.destroyed_at) || 0;
  const groups = new Map();
  for (const meeting of meetings.sort((one, other) => ended(other) - ended(one))) {
    groups.set(meeting.room_name, [...(groups.get(meeting.room_name) ?? []), meeting]);
  }
  return [...groups].map(([room, of]) => ({ room, last: of[0], earlier: of.slice(1) }));
}

function item(session, { room, last, earlier }, to, open) {
  const place = element("div", { class: "place", hidden: true });
  let read = null;
  const toggle = element("button", { type: "button", "aria-expanded": "false" }, "Summary");
  toggle.setAttribute("aria-label", `Summary of ${room}`);
  toggle.addEventListener("click", () => {
    show(place, place.hidden);
    toggle.setAttribute("aria-expanded", String(!place.hidden));
    if (!read) {
      read = summary(session, room);
      place.append(read.root);
      open.push(read);
    }
  });
  return element(
    "li",
    {},
    element("div", { class: "meeting" }, element("h3", {}, foreign(room)), element("p", { class: "when" }, when(last)), toggle),
    earlier.length > 0 ? before(earlier) : null,
    place,
  );
}

function before(earlier) {
  const times = earlier.map((meeting) => element("li", {}, when(meeting)));
  return element(
    "details",
    { class: "before" },
    element("summary", {}, `${count(earlier.length, "meeting")} before that`),
    element("ul", {}, ...times),
  );
}

/** `20 Jun 2024, 08:10 · 30 minutes`, as far as it is known. */
function when({ created_at: from, destroyed_at: to }) {
  const start = dateTime(from);
  const lasted = (Date.parse(to) - Date.parse(from)) / 1000;
  const parts = [start ?? "at an unknown time", lasted > 0 ? duration(lasted) : null];
  return parts.filter((part) => part !== null).join(" · ");
}
