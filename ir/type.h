/* type.h: element types, interned types (design D2) and symbolic dims (dim.h). Shared by both IRs.
 * A tensor's logical shape and the meaning of its axes never change; `layout` says how it lies in memory. Equal TypeIds <=> equal types. */
#ifndef BMC_IR_TYPE_H
#define BMC_IR_TYPE_H
#include "base/intern.h"
#include "base/str.h"
#include "ir/dim.h"

/* Numbers are ONNX's TensorProto.DataType; DT_NONE also means "not known". */
typedef enum DType {
    DT_NONE = 0, DT_F32 = 1, DT_U8 = 2, DT_I8 = 3, DT_U16 = 4, DT_I16 = 5, DT_I32 = 6, DT_I64 = 7, DT_STR = 8, DT_BOOL = 9,
    DT_F16 = 10, DT_F64 = 11, DT_U32 = 12, DT_U64 = 13, DT_C64 = 14, DT_C128 = 15, DT_BF16 = 16,
    DT_F8E4M3FN = 17, DT_F8E4M3FNUZ = 18, DT_F8E5M2 = 19, DT_F8E5M2FNUZ = 20, DT_U4 = 21, DT_I4 = 22, DT_F4E2M1 = 23, DT_F8E8M0 = 24,
    DT_U2 = 25, DT_I2 = 26, DT_F6E2M3 = 27, DT_F6E3M2 = 28 /* a byte each in memory */, DT_COUNT = 29
} DType;

typedef enum DTypeClass { DC_NONE, DC_FLOAT, DC_INT, DC_UINT, DC_BOOL, DC_STR, DC_COMPLEX } DTypeClass;
typedef struct DTypeInfo { const char *name, *onnx; uint8_t bits; DTypeClass cls; DType compute; } DTypeInfo;
/* name: "f32", "i64", "bool", "str", ... (text forms); onnx: "float", "int64", ... (messages); bits in memory;
 * compute: the type that arithmetic on it is done in (f16, bf16, f8*, f4 -> f32; i4 -> i8; others themselves). Complex
 * elements are carried: c64 as the 64 bits of a u64, c128 as the two words of a str; computed with are their parts (ir/ops/complex.h). */
const DTypeInfo *dtype_info(DType);
static inline const char *dtype_name(DType t) { return dtype_info(t)->name; }
static inline bool dtype_is_float(DType t) { return dtype_info(t)->cls == DC_FLOAT; }
static inline bool dtype_is_signed(DType t) { return dtype_info(t)->cls == DC_INT || dtype_is_float(t); }
static inline bool dtype_is_int(DType t) { return dtype_info(t)->cls == DC_INT || dtype_info(t)->cls == DC_UINT; }
static inline DType dtype_compute(DType t) { return dtype_info(t)->compute; }
DType dtype_parse(const char *name);            /* DT_NONE when unknown */
/* Bytes of n >= 0 elements (sub-byte types pack, last byte padded); INT64_MAX when they are more than that. Not for DT_NONE. */
int64_t dtype_bytes(DType, int64_t n);

typedef uint32_t DTypeSet;                      /* bit per DType */
#define DTS(t) (1u << (t))
#define DTS_FLOAT (DTS(DT_F16) | DTS(DT_BF16) | DTS(DT_F32) | DTS(DT_F64))
#define DTS_SINT (DTS(DT_I8) | DTS(DT_I16) | DTS(DT_I32) | DTS(DT_I64))
#define DTS_UINT (DTS(DT_U8) | DTS(DT_U16) | DTS(DT_U32) | DTS(DT_U64))
#define DTS_INT (DTS_SINT | DTS_UINT)
#define DTS_NUM (DTS_FLOAT | DTS_INT)
#define DTS_BOOL DTS(DT_BOOL)
#define DTS_STR DTS(DT_STR)
#define DTS_ANY (DTS_NUM | DTS_BOOL | DTS_STR)  /* everything that is computed with */
#define DTS_COMPLEX (DTS(DT_C64) | DTS(DT_C128))
#define DTS_MOVE (DTS_ANY | DTS_COMPLEX)        /* everything that elements which only change place may be */
#define DTS_FLOAT8 (DTS(DT_F8E4M3FN) | DTS(DT_F8E4M3FNUZ) | DTS(DT_F8E5M2) | DTS(DT_F8E5M2FNUZ))
#define DTS_FLOAT6 (DTS(DT_F6E2M3) | DTS(DT_F6E3M2))
#define DTS_PACKED (DTS(DT_U4) | DTS(DT_I4) | DTS(DT_U2) | DTS(DT_I2) | DTS(DT_F4E2M1))   /* several elements in a byte */
#define DTS_SMALL (DTS_FLOAT8 | DTS_FLOAT6 | DTS_PACKED | DTS(DT_F8E8M0))  /* for storing and converting only */
#define DTS_INDEX (DTS(DT_I32) | DTS(DT_I64))

typedef enum TypeKind { TY_NONE, TY_TENSOR, TY_SEQ, TY_OPT, TY_MAP } TypeKind;
typedef struct TypeId { uint32_t i; } TypeId;   /* 0: not known */
typedef struct LayoutId { uint16_t i; } LayoutId; /* 0: row-major dense */

#define RANK_UNKNOWN 255
#define RANK_MAX 32

typedef struct TypeRec {
    TypeKind kind;
    DType elem;         /* TENSOR: element type; MAP: key's */
    TypeId of;          /* SEQ, OPT: what it holds; MAP: the value's type */
    LayoutId layout;    /* TENSOR */
    uint8_t rank;       /* TENSOR: RANK_UNKNOWN when not known (dim is empty then) */
    Dim dim[RANK_MAX];  /* TENSOR: rank entries, never 0 */
} TypeRec;

typedef struct Layout { uint8_t rank; uint8_t perm[RANK_MAX]; /* memory order, outermost first */ uint32_t pad[RANK_MAX]; /* multiple in elements, 0/1: none */ } Layout;

typedef struct Types { Arena *arena; Dims *dims; VEC(TypeRec) rec; VEC(Layout) layout; Map by_hash; VEC(uint32_t) next; } Types;

void types_init(Types *, Arena *, Dims *);
const TypeRec *type_rec(const Types *, TypeId);
TypeId type_intern(Types *, const TypeRec *);
TypeId type_tensor(Types *, DType, int rank, const Dim *dims);
TypeId type_tensor_unranked(Types *, DType);
TypeId type_seq(Types *, TypeId of);
TypeId type_opt(Types *, TypeId of);
TypeId type_map(Types *, DType key, TypeId of);
TypeId type_with_elem(Types *, TypeId tensor, DType);
LayoutId layout_intern(Types *, const Layout *);
/* Text form: f32[N,64] f32[] f32[*] seq<f32[?]> opt<...> map<i64,f32[]>; a layout follows as @nhwc-like suffix "@{0,2,3,1}". */
void type_print(Str *, const Types *, TypeId);
/* Number of elements as a Dim (1 for rank 0) of a tensor of known rank; DIM_NONE and dims->overflow when it leaves int64. */
Dim type_count(Types *, TypeId tensor);

#endif
