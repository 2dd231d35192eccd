// What the page shows by the configuration of the server.

import { send } from "./http.js";

const response = send({ path: "/console/settings" }).catch(() => ({}));

/** Returns `{passwordLogin, guestLinks, sampleRooms}`. Without a valid response, there are no sample rooms. */
export async function settings() {
  const { data } = await response;
  const rooms = Array.isArray(data?.sampleRooms) ? data.sampleRooms : [];
  return {
    passwordLogin: data?.passwordLogin !== false,
    guestLinks: data?.guestLinks !== false,
    // A URL cannot hold half of a surrogate pair.
    sampleRooms: rooms.filter((room) => typeof room === "string" && room.isWellFormed()),
  };
}
