# Libraries from the system, each as an imported target bmc::<name> that exists only when it was found.
find_package(Threads REQUIRED)

find_path(XXHASH_INCLUDE xxhash.h)
find_library(XXHASH_LIBRARY xxhash)
if(XXHASH_INCLUDE AND XXHASH_LIBRARY)
    add_library(bmc::xxhash UNKNOWN IMPORTED)
    set_target_properties(bmc::xxhash PROPERTIES IMPORTED_LOCATION ${XXHASH_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${XXHASH_INCLUDE})
endif()

find_path(PROTOBUF_C_INCLUDE protobuf-c/protobuf-c.h)
find_library(PROTOBUF_C_LIBRARY protobuf-c)
find_program(PROTOC_C protoc-c)
if(PROTOBUF_C_INCLUDE AND PROTOBUF_C_LIBRARY AND PROTOC_C)
    add_library(bmc::protobuf_c UNKNOWN IMPORTED)
    set_target_properties(bmc::protobuf_c PROPERTIES IMPORTED_LOCATION ${PROTOBUF_C_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${PROTOBUF_C_INCLUDE})
endif()

# Its version file rejects a bare "19"; the shared library keeps our link at a second.
# Of its package we take the place only: its own imported targets would need C++ and the development files of all that LLVM may use.
find_package(LLVM 19.1 CONFIG QUIET)
if(LLVM_FOUND)
    find_library(LLVM_SHARED NAMES LLVM-19 LLVM HINTS ${LLVM_LIBRARY_DIRS} NO_DEFAULT_PATH)
    if(LLVM_SHARED)
        add_library(bmc::llvm UNKNOWN IMPORTED)
        set_target_properties(bmc::llvm PROPERTIES IMPORTED_LOCATION ${LLVM_SHARED} INTERFACE_INCLUDE_DIRECTORIES "${LLVM_INCLUDE_DIRS}")
    endif()
endif()
find_package(OpenMP COMPONENTS C QUIET)

# The runtime's folder: the triple as LLVM spells it for this host, so that code generation finds it by its own name for the target.
if(NOT BMC_TRIPLE)
    if(LLVM_FOUND AND LLVM_TOOLS_BINARY_DIR)
        execute_process(COMMAND ${LLVM_TOOLS_BINARY_DIR}/llvm-config --host-target OUTPUT_VARIABLE BMC_TRIPLE OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    endif()
    if(NOT BMC_TRIPLE)
        execute_process(COMMAND ${CMAKE_C_COMPILER} -dumpmachine OUTPUT_VARIABLE BMC_TRIPLE OUTPUT_STRIP_TRAILING_WHITESPACE)
    endif()
endif()
