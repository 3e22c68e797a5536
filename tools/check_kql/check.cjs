// Reads {"schemas": {table: {column: type}}, "queries": [text]} from standard input, and writes a list of
// {"query": index, "offset", "code", "message"} to standard output.
"use strict";
require("@kusto/language-service-next/bridge.min.js"); // defines what the next line needs
require("@kusto/language-service-next/Kusto.Language.Bridge.min.js"); // defines Kusto

const { Symbols, GlobalState, KustoCode } = globalThis.Kusto.Language;

function table([name, columns]) {
  const schema = Object.entries(columns).map(([column, type]) => `${column}: ${type}`);
  return Symbols.TableSymbol.From(`(${schema.join(", ")})`).WithName(name);
}

function* diagnostics(globals, text, query) {
  const found = KustoCode.ParseAndAnalyze(text, globals).GetDiagnostics();
  for (let at = 0; at < found.Count; at++) {
    const { Start: offset, Code: code, Message: message } = found.getItem(at);
    yield { query, offset, code, message };
  }
}

const { schemas, queries } = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const workspace = new Symbols.DatabaseSymbol.$ctor1("workspace", Object.entries(schemas).map(table));
const globals = GlobalState.Default.WithDatabase(workspace);
const all = queries.flatMap((text, query) => [...diagnostics(globals, text, query)]);
process.stdout.write(JSON.stringify(all));
