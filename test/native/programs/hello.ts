import * as host from "holdfast:host";

host.write(
  1,
  host.encodeUtf8("hello " + host.sha256(host.encodeUtf8("abc")) + " " + host.argv.join() + "\n"),
);
host.setTimer(10, () => {
  host.write(1, host.encodeUtf8("timer\n"));
  try {
    host.open("/nonexistent", 0);
  } catch (e) {
    host.write(1, host.encodeUtf8(`${e} ${(e as Error).stack}`));
  }
});
