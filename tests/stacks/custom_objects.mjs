// Reads Kubernetes objects as JSON, checks them against the definitions of their kinds, writes the faults as JSON.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import ts from "typescript";

const require = createRequire(import.meta.url);
// One is published as ES modules, the other is not.
const PACKAGES = {
  "gateway.networking.k8s.io": { name: "@kubernetes-models/gateway-api", load: (path) => import(path) },
  "cloud.google.com": { name: "@kubernetes-models/gke", load: (path) => require(path) },
  "networking.gke.io": { name: "@kubernetes-models/gke", load: (path) => require(path) },
};
const objects = JSON.parse(readFileSync(0, "utf8"));
const faults = [];
const lines = [];

for (const [index, object] of objects.entries()) {
  const where = `${object.kind} ${object.metadata.name}`;
  const { name, load } = PACKAGES[object.apiVersion.split("/")[0]];
  const module = `${name}/${object.apiVersion}`;
  const { [object.kind]: Kind } = await load(module);
  try {
    new Kind(object).validate();
  } catch (error) {
    faults.push(`${where}: ${error.message}`);
  }
  // A literal with a field that its type does not have is an error of TypeScript's.
  lines.push(`import type { I${object.kind} as T${index} } from "${module}";`);
  lines.push(`export const o${index}: T${index} = ${JSON.stringify(object)};`);
}

const file = `${process.cwd()}/objects.ts`;
const options = {
  strict: true,
  noEmit: true,
  skipLibCheck: true,
  types: [],
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
};
const host = ts.createCompilerHost(options);
const { getSourceFile, fileExists, readFile } = host;
const text = lines.join("\n");
host.fileExists = (path) => path === file || fileExists(path);
host.readFile = (path) => (path === file ? text : readFile(path));
host.getSourceFile = (path, version, ...rest) =>
  path === file ? ts.createSourceFile(path, text, version) : getSourceFile(path, version, ...rest);
const program = ts.createProgram([file], options, host);
for (const { messageText, start } of ts.getPreEmitDiagnostics(program)) {
  const index = Math.floor((text.slice(0, start).split("\n").length - 1) / 2);
  const { kind, metadata } = objects[index];
  faults.push(`${kind} ${metadata.name}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`);
}
console.log(JSON.stringify(faults));
