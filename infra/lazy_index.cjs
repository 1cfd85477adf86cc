// Loaded into the Node process of cdktf before anything else (see bindings.py).
//
// The index of a provider's bindings requires all of its ~1,470 modules. Each line of it is turned into a
// getter, so that a module is loaded when its first resource is made. Its source map, which only costs memory,
// is dropped.
"use strict";
const Module = require("module");

const INDEX = /[\\/]provider-[^\\/]+[\\/](?:[^\\/]+[\\/]){0,2}lib[\\/]index\.js$/;
const EAGER = /^exports\.(\w+) = (?:__importStar\()?require\(("\.\/[^"]+")\)\)?;$/gm;
const LAZY = 'Object.defineProperty(exports, "$1", { enumerable: true, get() { return require($2); } });';

const compile = Module.prototype._compile;
Module.prototype._compile = function (content, filename, ...rest) {
  if (INDEX.test(filename)) {
    content = content.replace(EAGER, LAZY).replace(/\/\/# sourceMappingURL=.*\s*$/, "");
  }
  return compile.call(this, content, filename, ...rest);
};
