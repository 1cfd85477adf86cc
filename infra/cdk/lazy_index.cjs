// Loaded into the Node process of cdktf before anything else (see bindings.py).
//
// The index of a provider's bindings requires all of its ~1,470 modules. Each line of it is turned into a
// getter, so that a module is loaded when its first resource is made. Its source map, which only costs memory,
// is dropped.
//
// cdktf also records the JavaScript stack at which every token was made, to show it with an error. It tells
// nothing about a Python program, so none is recorded.
"use strict";
const Module = require("module");

const INDEX = /[\\/]provider-[^\\/]+[\\/](?:[^\\/]+[\\/]){0,2}lib[\\/]index\.js$/;
const EAGER = /^exports\.(\w+) = (?:__importStar\()?require\(("\.\/[^"]+")\)\)?;$/gm;
const LAZY = 'Object.defineProperty(exports, "$1", { enumerable: true, get() { return require($2); } });';
const TRACES = /[\\/]cdktf[\\/]lib[\\/]tokens[\\/]private[\\/]stack-trace\.js$/;

const compile = Module.prototype._compile;
Module.prototype._compile = function (content, filename, ...rest) {
  if (INDEX.test(filename)) {
    content = content.replace(EAGER, LAZY).replace(/\/\/# sourceMappingURL=.*\s*$/, "");
  } else if (TRACES.test(filename)) {
    content = "exports.captureStackTrace = () => [];";
  }
  return compile.call(this, content, filename, ...rest);
};
