// The rooms that the user has read in this tab, for the home page. They are cleared when the session ends.

const RECENT_ROOMS = "recentRooms";
/** The maximum number of rooms. */
const MAX_ROOMS = 6;

/** Returns the rooms, the latest first. */
export function recentRooms() {
  return JSON.parse(sessionStorage.getItem(RECENT_ROOMS) ?? "[]");
}

/** Adds a room, or moves it to the front. */
export function addRecentRoom(name) {
  const rooms = [name, ...recentRooms().filter((other) => other !== name)];
  sessionStorage.setItem(RECENT_ROOMS, JSON.stringify(rooms.slice(0, MAX_ROOMS)));
}

/** Removes all rooms. */
export function clearRecentRooms() {
  sessionStorage.removeItem(RECENT_ROOMS);
}
