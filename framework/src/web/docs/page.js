// Shows /openapi.json as a page: every operation, its parameters and answers, and a form to send it.
"use strict";

const element = (name, text, ...children) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
};

const follow = (api, it) =>
  it && it.$ref ? it.$ref.slice(2).split("/").reduce((at, key) => at[key], api) : it;

// An example of a body: its required fields by the type that each has.
const example = (api, schema) => {
  const { type, properties = {}, required = [], examples, minimum } = follow(api, schema) || {};
  if (examples) return examples[0];
  if (type === "object") {
    return Object.fromEntries(required.map((name) => [name, example(api, properties[name])]));
  }
  return type === "integer" ? minimum || 1 : "";
};

const table = (rows) =>
  element("table", undefined, ...rows.map((cells) =>
    element("tr", undefined, ...cells.map((cell) =>
      cell instanceof Node ? element("td", undefined, cell) : element("td", cell)))));

const form = (api, method, path, operation) => {
  const fields = (operation.parameters || []).map((parameter) => {
    const input = element("input");
    input.required = parameter.in === "path";
    return { ...parameter, input };
  });
  const body = follow(api, operation.requestBody)?.content?.["application/json"];
  const text = element("textarea");
  text.value = body ? JSON.stringify(example(api, body.schema), null, 2) : "";
  const answer = element("pre");
  answer.hidden = true;
  const send = async (event) => {
    event.preventDefault();
    const headers = {}, query = new URLSearchParams();
    let url = path;
    for (const { name, in: place, input } of fields) {
      if (place === "path") url = url.replace(`{${name}}`, encodeURIComponent(input.value));
      else if (!input.value) continue;
      else if (place === "query") query.set(name, input.value);
      else headers[name] = input.value;
    }
    if (body) headers["Content-Type"] = "application/json";
    const credential = document.getElementById("credential").value;
    if (credential) headers.Authorization = `Bearer ${credential}`;
    answer.hidden = false;
    answer.textContent = "…";
    try {
      const sent = { method, headers, body: body ? text.value : undefined };
      const response = await fetch(query.size ? `${url}?${query}` : url, sent);
      answer.textContent = `${response.status} ${response.statusText}\n`;
      for (const [name, value] of response.headers) answer.textContent += `${name}: ${value}\n`;
      answer.textContent += "\n";
      // A live stream does not end: each part is shown as it comes.
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
      for (let part; reader && !(part = await reader.read()).done;) answer.textContent += part.value;
    } catch (error) {
      answer.textContent += error;
    }
  };
  const made = element("form", undefined,
    table(fields.map(({ name, in: place, schema, input }) =>
      [element("code", name), place, input, follow(api, schema)?.description || ""])),
    ...(body ? [text] : []), element("button", "Send"), answer);
  made.addEventListener("submit", send);
  return made;
};

const operation = (api, method, path, described) => {
  const answers = Object.entries(described.responses).map(([status, response]) =>
    [element("code", status), follow(api, response).description]);
  const scopes = (described.security || []).flatMap((one) => Object.values(one).flat());
  const made = element("details", undefined,
    element("summary", undefined, element("b", method.toUpperCase()), element("code", path),
      ` ${described.summary || described.description || ""}`),
    element("p", scopes.length ? `Scope: ${scopes.join(", ")}` : "No credential needed."));
  // The form is made when it is opened for the first time.
  made.addEventListener("toggle", () => made.append(form(api, method, path, described), table(answers)),
    { once: true });
  return made;
};

fetch("/openapi.json").then((response) => response.json()).then((api) => {
  document.title = `${api.info.title}: API`;
    document.getElementById("title").textContent = `${api.info.title} ${api.info.version}`;
  document.getElementById("about").textContent = api.info.description;
  const main = document.getElementById("operations"), tags = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const [method, described] of Object.entries(item)) {
      const tag = described.tags?.[0] || "other";
      if (!tags.has(tag)) tags.set(tag, [element("h2", tag)]);
      tags.get(tag).push(operation(api, method, path, described));
    }
  }
  main.append(...[...tags.values()].flat());
}).catch((error) => { document.getElementById("about").textContent = error; });
