// oidc-provider as an issuer: provider.mjs FOLDER, which has node_modules. A line on stdin is a command in JSON, its answer a line
// on stdout:
//   {"claims": {"preferred_username": …}, "aud": …, "scope": …, "alg": "ES256", "seconds": 60}
// gives an access token (RFC 9068), fetched with client credentials.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(process.argv[2] + "/");
const { default: Provider } = await import(require.resolve("oidc-provider"));
// Its advice about development settings is no line of ours.
console.info = console.warn = () => {};

const kinds = { RS256: ["rsa", { modulusLength: 2048 }], ES256: ["ec", { namedCurve: "P-256" }], EdDSA: ["ed25519", {}] };
const keys = Object.entries(kinds).map(([alg, [kind, options]]) => ({
  ...generateKeyPairSync(kind, options).privateKey.export({ format: "jwk" }), alg, kid: `key-${alg}`, use: "sig",
}));
const listener = createServer();
await new Promise((ready) => listener.listen(0, "127.0.0.1", ready));
const issuer = `http://127.0.0.1:${listener.address().port}`;
let wanted = {};
const provider = new Provider(issuer, {
  jwks: { keys },
  clients: [{
    client_id: "tests", client_secret: "of-the-tests-only", grant_types: ["client_credentials"], redirect_uris: [], response_types: [],
  }],
  scopes: ["openid", "login", "search", "scim.read", "scim.write", "health"],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => "urn:service",
      getResourceServerInfo: () => ({
        scope: "login search scim.read scim.write health", audience: wanted.aud, accessTokenTTL: wanted.seconds ?? 600,
        accessTokenFormat: "jwt", jwt: { sign: { alg: wanted.alg ?? "RS256" } },
      }),
    },
  },
  enabledJWA: { idTokenSigningAlgValues: ["RS256", "ES256", "EdDSA"] },
  extraTokenClaims: () => wanted.claims,
});
listener.on("request", provider.callback());
console.log(JSON.stringify({ issuer }));
for await (const line of createInterface({ input: process.stdin })) {
  wanted = JSON.parse(line);
  const answer = await fetch(`${issuer}/token`, {
    method: "POST",
    headers: { authorization: `Basic ${Buffer.from("tests:of-the-tests-only").toString("base64")}` },
    body: new URLSearchParams({ grant_type: "client_credentials", scope: wanted.scope ?? "", resource: "urn:service" }),
  });
  const { access_token: token, ...rest } = await answer.json();
  console.log(JSON.stringify({ token, ...rest }));
}
listener.close();
listener.closeAllConnections();
