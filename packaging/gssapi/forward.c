/*
 * Takes the place of libgssapi_krb5 when the released executables are linked: each function that they use loads the library of the
 * machine when it is first called, and calls the function of the same name in it. One executable serves machines with Kerberos and
 * machines without. docs/decisions/0015-kerberos-at-run-time.md; scripts/build-gssapi.sh compiles it.
 *
 * Only functions: the crate libgssapi has the object identifiers itself. A function that is missing here fails the link.
 */
#include <dlfcn.h>
#include <gssapi/gssapi.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* MIT Kerberos 1.6 (2007) and later. */
#define LIBRARY "libgssapi_krb5.so.2"
#define MISSING LIBRARY " cannot be loaded: install MIT Kerberos (Debian, Ubuntu: libgssapi-krb5-2; Fedora, RHEL: krb5-libs)"

static void *library;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void) { library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL); }

static void *function(const char *name) {
  pthread_once(&once, load);
  return library ? dlsym(library, name) : NULL;
}

/* Without the library or the function: GSS_S_UNAVAILABLE. gss_display_status gives its text. */
#define FORWARD(name, parameters, arguments)             \
  OM_uint32 name parameters {                            \
    OM_uint32(*call) parameters = function(#name);       \
    if (!call) {                                         \
      *minor = 0;                                        \
      return GSS_S_UNAVAILABLE;                          \
    }                                                    \
    return call arguments;                               \
  }

FORWARD(gss_acquire_cred_with_password,
        (OM_uint32 * minor, gss_name_t name, gss_buffer_t password, OM_uint32 time, gss_OID_set mechanisms, gss_cred_usage_t usage,
         gss_cred_id_t *cred, gss_OID_set *actual, OM_uint32 *actual_time),
        (minor, name, password, time, mechanisms, usage, cred, actual, actual_time))
FORWARD(gss_acquire_cred,
        (OM_uint32 * minor, gss_name_t name, OM_uint32 time, gss_OID_set mechanisms, gss_cred_usage_t usage, gss_cred_id_t *cred,
         gss_OID_set *actual, OM_uint32 *actual_time),
        (minor, name, time, mechanisms, usage, cred, actual, actual_time))
FORWARD(gss_add_oid_set_member, (OM_uint32 * minor, gss_OID member, gss_OID_set *set), (minor, member, set))
FORWARD(gss_create_empty_oid_set, (OM_uint32 * minor, gss_OID_set *set), (minor, set))
FORWARD(gss_delete_sec_context, (OM_uint32 * minor, gss_ctx_id_t *context, gss_buffer_t token), (minor, context, token))
FORWARD(gss_import_name, (OM_uint32 * minor, gss_buffer_t text, gss_OID type, gss_name_t *name), (minor, text, type, name))
FORWARD(gss_init_sec_context,
        (OM_uint32 * minor, gss_cred_id_t cred, gss_ctx_id_t *context, gss_name_t target, gss_OID mechanism, OM_uint32 flags,
         OM_uint32 time, gss_channel_bindings_t bindings, gss_buffer_t input, gss_OID *actual, gss_buffer_t output,
         OM_uint32 *actual_flags, OM_uint32 *actual_time),
        (minor, cred, context, target, mechanism, flags, time, bindings, input, actual, output, actual_flags, actual_time))
FORWARD(gss_release_cred, (OM_uint32 * minor, gss_cred_id_t *cred), (minor, cred))
FORWARD(gss_release_name, (OM_uint32 * minor, gss_name_t *name), (minor, name))
FORWARD(gss_release_oid_set, (OM_uint32 * minor, gss_OID_set *set), (minor, set))
FORWARD(gss_unwrap,
        (OM_uint32 * minor, gss_ctx_id_t context, gss_buffer_t input, gss_buffer_t output, int *confidential, gss_qop_t *quality),
        (minor, context, input, output, confidential, quality))
FORWARD(gss_wrap,
        (OM_uint32 * minor, gss_ctx_id_t context, int request, gss_qop_t quality, gss_buffer_t input, int *confidential,
         gss_buffer_t output),
        (minor, context, request, quality, input, confidential, output))

OM_uint32 gss_display_status(OM_uint32 *minor, OM_uint32 status, int kind, gss_OID mechanism, OM_uint32 *more, gss_buffer_t text) {
  OM_uint32 (*call)(OM_uint32 *, OM_uint32, int, gss_OID, OM_uint32 *, gss_buffer_t) = function("gss_display_status");
  if (call) return call(minor, status, kind, mechanism, more, text);
  *minor = 0;
  *more = 0;
  text->value = strdup(kind == GSS_C_GSS_CODE ? MISSING : "");
  text->length = text->value ? strlen(text->value) : 0;
  return GSS_S_COMPLETE;
}

OM_uint32 gss_release_buffer(OM_uint32 *minor, gss_buffer_t text) {
  OM_uint32 (*call)(OM_uint32 *, gss_buffer_t) = function("gss_release_buffer");
  if (call) return call(minor, text);
  *minor = 0;
  /* From gss_display_status above. */
  free(text->value);
  text->value = NULL;
  text->length = 0;
  return GSS_S_COMPLETE;
}
