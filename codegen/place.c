/* place.c: where in a linked file the weights belong. Linkers are given a section without contents in their place, so
 * that they copy nothing: in a shared object it has become a hole in the file, in a relocatable one it still has no
 * contents and gets a place at the end. gold leaves it without contents in a shared object, too: it is given the weights
 * themselves. Reference: System V ABI, chapter 4 (ELF64). */
#include "codegen/cg.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { PAGE = 4096 };

static bool read_at(FILE *f, Elf64_Off at, void *to, size_t n)
{
    return at <= INT64_MAX && !fseeko(f, (off_t)at, SEEK_SET) && fread(to, 1, n, f) == n;
}

/* The symbol's section header, read into *s, and where that lies; false: there is no such symbol of that size. */
static bool symbol_find(Cg *g, FILE *f, const char *name, int64_t bytes, Elf64_Sym *sym, Elf64_Shdr *s, Elf64_Off *head)
{
    Elf64_Ehdr eh;
    if (!read_at(f, 0, &eh, sizeof eh) || memcmp(eh.e_ident, ELFMAG, SELFMAG) || eh.e_shentsize != sizeof *s) return false;
    Elf64_Shdr *sh = arena_alloc(&g->arena, (size_t)eh.e_shnum * sizeof *sh);
    if (!read_at(f, eh.e_shoff, sh, (size_t)eh.e_shnum * sizeof *sh)) return false;
    for (uint32_t k = 0; k < eh.e_shnum; k++) {
        if (sh[k].sh_type != SHT_SYMTAB || sh[k].sh_link >= eh.e_shnum) continue;
        const Elf64_Shdr *text = &sh[sh[k].sh_link];
        char *names = arena_alloc(&g->arena, text->sh_size + 1);
        if (!read_at(f, text->sh_offset, names, text->sh_size)) return false;
        names[text->sh_size] = 0;
        for (uint64_t i = 0; i < sh[k].sh_size / sizeof *sym; i++) {
            if (!read_at(f, sh[k].sh_offset + i * sizeof *sym, sym, sizeof *sym)) return false;
            if (sym->st_name >= text->sh_size || strcmp(names + sym->st_name, name)) continue;
            if (sym->st_shndx >= eh.e_shnum || sym->st_size != (uint64_t)bytes) return false;
            *s = sh[sym->st_shndx];
            *head = eh.e_shoff + sym->st_shndx * sizeof *s;
            sym->st_value -= s->sh_addr; /* 0 in a relocatable file */
            return true;
        }
    }
    return false;
}

bool place_in_file(Cg *g, const char *linked)
{
    Elf64_Sym sym;
    Elf64_Shdr s;
    Elf64_Off head;
    FILE *f = fopen(linked, "rb");
    if (!f) return false;
    bool in = symbol_find(g, f, arena_printf(&g->arena, "bmc_weights_%s", g->m->prefix), g->data->bytes, &sym, &s, &head) &&
              s.sh_type != SHT_NOBITS;
    fclose(f);
    return in;
}

bool place_find(Cg *g, FILE *f, const char *name, int64_t bytes, int64_t *at)
{
    Elf64_Sym sym;
    Elf64_Shdr s;
    Elf64_Off head;
    if (!symbol_find(g, f, name, bytes, &sym, &s, &head)) return false;
    if (sym.st_value > s.sh_size || s.sh_size - sym.st_value < (uint64_t)bytes) return false;
    if (s.sh_type == SHT_NOBITS) {
        if (fseeko(f, 0, SEEK_END)) return false;
        s.sh_type = SHT_PROGBITS;
        s.sh_offset = ((Elf64_Off)ftello(f) + PAGE - 1) / PAGE * PAGE;
        if (fseeko(f, (off_t)head, SEEK_SET) || fwrite(&s, sizeof s, 1, f) != 1) return false;
    }
    *at = (int64_t)(s.sh_offset + sym.st_value);
    return !fseeko(f, (off_t)*at, SEEK_SET);
}
