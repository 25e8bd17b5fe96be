// oauth2-mock-server as an issuer: mock.mjs FOLDER, which has node_modules. A line on stdin is a command in JSON, its answer a
// line on stdout:
//   {"claims": {"aud": …}}   a token with these claims over the usual ones; null leaves one out
//   {"key": "ES256"}         one more key, with which tokens are signed from now on
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(process.argv[2] + "/");
const { OAuth2Server } = await import(require.resolve("oauth2-mock-server"));

const server = new OAuth2Server();
let { kid } = await server.issuer.keys.generate("RS256");
await server.start(0, "127.0.0.1");
server.issuer.url = `http://127.0.0.1:${server.address().port}`;
console.log(JSON.stringify({ issuer: server.issuer.url }));
for await (const line of createInterface({ input: process.stdin })) {
  const { claims, key } = JSON.parse(line);
  if (key) ({ kid } = await server.issuer.keys.generate(key));
  const scopesOrTransform = (_header, payload) => {
    Object.assign(payload, claims);
    for (const name of Object.keys(payload)) if (payload[name] === null) delete payload[name];
  };
  console.log(JSON.stringify({ token: await server.issuer.buildToken({ kid, scopesOrTransform }), kid }));
}
await server.stop();
