// Loaded before Azurite. Its database sorts all rows of a table again when it removes one of them by
// a query. Azurite removes the texts of old messages so, one by one, ten minutes after they were
// sent: after some thousand messages it answers nothing else for minutes.
import { createRequire } from "node:module";

const { Collection } = createRequire(import.meta.url)("lokijs");

Collection.prototype.findAndRemove = function (query) {
  for (const row of this.find(query)) this.remove(row);
};
