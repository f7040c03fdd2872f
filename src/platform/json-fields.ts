// The part of a record that never changes, as text: records are written anew at every step of a container's life (state-log.ts), and most of them is that.

/** What stands between the braces of an object's JSON. It is made when it is asked for first. */
export function fieldsOnce(object: () => object): () => string {
  let fields: string | undefined;
  return () => {
    fields ??= JSON.stringify(object()).slice(1, -1);
    return fields;
  };
}
