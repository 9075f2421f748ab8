// Signs in, and shows the cameras and the sightings as they come. It uses only the public API.

const API = new URL("api/v1/", document.baseURI);
const MOST_SHOWN = 50;
const MARKS = { named: "●", withdrawn: "○", unknown: "◆", uncertain: "◇", left: "–" };
const byId = (id) => document.getElementById(id);

async function ask(path, method = "GET", body) {
  const answer = await fetch(new URL(path, API), {
    method,
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const document_ = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw Object.assign(new Error(document_.detail ?? document_.title), { status: answer.status });
  return document_;
}

function item(kind, ...parts) {
  const line = document.createElement("li");
  line.className = kind;
  for (const [tag, text, className] of parts) {
    const part = document.createElement(tag);
    part.textContent = text;
    if (className) part.className = className;
    line.append(part);
  }
  return line;
}

function showCameras(cameras) {
  byId("cameras").replaceChildren(
    ...Object.entries(cameras).map(([name, word]) =>
      item(word, ["span", word === "up" ? "●" : "▲", "mark"], ["span", name], ["span", word]),
    ),
  );
}

function showSighting(event) {
  const who = event.person ?? event.unknown ?? "";
  const at = new Date(event.time).toLocaleTimeString();
  const mark = ["span", MARKS[event.event] ?? "·", "mark"];
  const line = item(event.event, mark, ["time", at], ["span", `${event.event} ${who}`], ["span", event.camera]);
  byId("sightings").prepend(line);
  while (byId("sightings").childElementCount > MOST_SHOWN) byId("sightings").lastElementChild.remove();
}

async function enter() {
  const me = await ask("me");
  byId("entry").hidden = true;
  byId("site").hidden = byId("leave").hidden = false;
  byId("who").textContent = `${me.label} (${me.role})`;
  const past = await ask(`events?limit=${MOST_SHOWN}`);
  past.events.reverse().forEach(showSighting);
  const last = past.events.at(-1)?.id ?? 0;
  const stream = new EventSource(new URL(`events/stream?after=${last}`, API));
  stream.addEventListener("status", (one) => showCameras(JSON.parse(one.data).cameras));
  for (const kind of ["named", "withdrawn", "unknown", "left", "corrected", "camera_up", "camera_down"])
    stream.addEventListener(kind, (one) => showSighting(JSON.parse(one.data)));
}

function showEntry(fault = "") {
  byId("site").hidden = byId("leave").hidden = true;
  byId("entry").hidden = false;
  byId("who").textContent = "";
  byId("fault").textContent = fault;
}

async function signIn(given) {
  try {
    await ask("session", "POST", given);
    await enter();
  } catch (error) {
    showEntry(error.message);
  }
}

byId("password").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn(Object.fromEntries(new FormData(event.target)));
});
byId("leave").addEventListener("click", async () => {
  await ask("session", "DELETE");
  location.reload();
});

const code = location.hash.slice(1);
if (code) {
  // Out of the address line and the history before anything else: it is a secret, though it is used up in a moment.
  history.replaceState(null, "", new URL(".", document.baseURI));
  signIn({ code });
} else {
  enter().catch((error) => showEntry(error.status === 401 ? "" : error.message));
}
