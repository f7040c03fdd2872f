// What comes before everything that others can see of this process, so that its state is written first (state-log.ts). Used by quickjs.ts and socket-stream.ts.
export const effects: { before: () => void } = { before() {} };
