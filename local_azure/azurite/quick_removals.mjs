// Loaded before Azurite. When its database removes rows of a table together, be it none, it sorts all
// rows of the table again. Azurite does so with each call of a queue and for the text of each old
// message: with some thousand messages it answers nothing else.
import { createRequire } from "node:module";

const { Collection } = createRequire(import.meta.url)("lokijs");

Collection.prototype.removeBatch = function (rows) {
  for (const row of rows) this.remove(row);
};

Collection.prototype.removeBatchByPositions = function (positions) {
  this.removeBatch(positions.map((position) => this.data[position]));
};
