/* Samba's LDAP ports are compiled in: 389, 636, 3268, 3269. This library, preloaded, gives it others:
 * BINDREMAP="389:10389,636:10636" changes the port in bind() and changes it back in getsockname(), since Samba asks
 * its own port whether a connection is ldaps. cc -shared -fPIC -o bindremap.so bindremap.c -ldl */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static in_port_t remap(in_port_t port, int back)
{
	const char *at = getenv("BINDREMAP");
	unsigned from, to;
	int length;
	while (at && sscanf(at, "%u:%u%n", &from, &to, &length) == 2) {
		if (ntohs(port) == (back ? to : from))
			return htons(back ? from : to);
		at += length;
		if (*at++ != ',')
			break;
	}
	return port;
}

static in_port_t *port_of(struct sockaddr *address)
{
	switch (address ? address->sa_family : AF_UNSPEC) {
	case AF_INET:
		return &((struct sockaddr_in *)address)->sin_port;
	case AF_INET6:
		return &((struct sockaddr_in6 *)address)->sin6_port;
	default:
		return NULL;
	}
}

int bind(int socket, const struct sockaddr *address, socklen_t length)
{
	int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
	union {
		struct sockaddr any;
		struct sockaddr_in6 longest;
	} copy;
	if (!port_of((struct sockaddr *)address) || length > sizeof copy)
		return real(socket, address, length);
	__builtin_memcpy(&copy, address, length);
	in_port_t *port = port_of(&copy.any);
	*port = remap(*port, 0);
	return real(socket, &copy.any, length);
}

int getsockname(int socket, struct sockaddr *address, socklen_t *length)
{
	int (*real)(int, struct sockaddr *, socklen_t *) = dlsym(RTLD_NEXT, "getsockname");
	int failed = real(socket, address, length);
	in_port_t *port = failed ? NULL : port_of(address);
	if (port)
		*port = remap(*port, 1);
	return failed;
}
