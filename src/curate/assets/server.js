// Requests to the server.

/** Takes the token out of the address, where it comes after `#`, which browsers do not send; keeps it for this tab. */
export function admit() {
  const hash = new URLSearchParams(location.hash.slice(1));
  if (!hash.has("token")) return;
  sessionStorage.setItem("token", hash.get("token"));
  hash.delete("token");
  history.replaceState(null, "", `${location.pathname}${hash.size ? `#${hash}` : ""}`);
}

admit();

/** Gets `path`, or posts `body` there, unless `signal` aborts it. An error has the server's
    `status` and whole `answer`; status 0 means no server. */
export async function call(path, body, signal) {
  const headers = {};
  const token = sessionStorage.getItem("token");
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response, answer;
  try {
    response = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body: body && JSON.stringify(body), signal });
    answer = await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw Object.assign(new Error("ewe curate does not answer; is it still running?"), { status: 0 });
  }
  if (!response.ok) throw Object.assign(new Error(answer.error), { status: response.status, answer });
  return answer;
}
