# runtime/*.c, twice:
#   lib/bmc/<triple>/libbmc_rt.a      what every compiled model is linked with: baseline ISA, position independent, hidden symbols, no
#                                     sanitizer; rt_parallel.c in it is the serial form (no OpenMP symbol)
#   lib/bmc/<triple>/libbmc_rt_omp.a  rt_parallel.c with OpenMP; linked BEFORE libbmc_rt.a it takes the place of the serial form. rt_omp.c
#                                     for objects that a program is linked with
#   lib/bmc/<triple>/libbmc_rt_<part>.a  runtime/<part>/*.c, the parts of runtime/rt_libs.def whose libraries are there
#   bmc_rt_host                       the serial form with this build's sanitizers, for the interpreter and the unit tests
file(GLOB BMC_RT_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/runtime/*.c)
set(BMC_RT_DIR lib/bmc/${BMC_TRIPLE})

# loops over many elements that gain from vectors
set_source_files_properties(${CMAKE_SOURCE_DIR}/runtime/rt_sort.c ${CMAKE_SOURCE_DIR}/runtime/rt_topk.c ${CMAKE_SOURCE_DIR}/runtime/rt_fourier.c
    ${CMAKE_SOURCE_DIR}/runtime/rt_nms.c PROPERTIES COMPILE_OPTIONS -O3)

function(bmc_rt_flags target)
    target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR})
    target_compile_definitions(${target} PRIVATE _DEFAULT_SOURCE)
    target_compile_options(${target} PRIVATE ${BMC_WARNINGS} -O2 -fvisibility=hidden -fPIC -ffunction-sections -fdata-sections
        -ffp-contract=off -fno-math-errno)
endfunction()

if(BMC_RT_SOURCES)
    add_library(bmc_rt STATIC ${BMC_RT_SOURCES})
    bmc_rt_flags(bmc_rt)
    set_target_properties(bmc_rt PROPERTIES ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/${BMC_RT_DIR})
    install(TARGETS bmc_rt ARCHIVE DESTINATION ${BMC_RT_DIR})
    if(EXISTS ${CMAKE_SOURCE_DIR}/runtime/rt_parallel.c AND OpenMP_C_FOUND)
        add_library(bmc_rt_omp STATIC ${CMAKE_SOURCE_DIR}/runtime/rt_parallel.c ${CMAKE_SOURCE_DIR}/runtime/rt_omp.c)
        bmc_rt_flags(bmc_rt_omp)
        target_compile_definitions(bmc_rt_omp PRIVATE BMC_RT_OPENMP=1)
        set_target_properties(bmc_rt_omp PROPERTIES ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/${BMC_RT_DIR})
        install(TARGETS bmc_rt_omp ARCHIVE DESTINATION ${BMC_RT_DIR})
    endif()
    add_library(bmc_rt_host STATIC ${BMC_RT_SOURCES})
    bmc_flags(bmc_rt_host)
    target_compile_options(bmc_rt_host PRIVATE -ffp-contract=off -fno-math-errno)
    target_link_libraries(bmc_rt_host PUBLIC m)
    # Parts that need libraries: an archive each, linked into the models that call it; bmc_rt_<part>_host for the tests (bmc itself goes without).
    file(STRINGS ${CMAKE_SOURCE_DIR}/runtime/rt_libs.def rows REGEX "^RTLIB\\(")
    foreach(row ${rows})
        string(REGEX REPLACE "^RTLIB\\(([a-z0-9_]+),.*" "\\1" part "${row}")
        if(BMC_PART_${part}_LIBS)
            file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/runtime/${part}/*.c)
            add_library(bmc_rt_${part} STATIC ${sources})
            bmc_rt_flags(bmc_rt_${part})
            target_include_directories(bmc_rt_${part} SYSTEM PRIVATE ${BMC_PART_${part}_INCLUDES})
            set_target_properties(bmc_rt_${part} PROPERTIES ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/${BMC_RT_DIR})
            install(TARGETS bmc_rt_${part} ARCHIVE DESTINATION ${BMC_RT_DIR})
            add_library(bmc_rt_${part}_host OBJECT ${sources})
            bmc_flags(bmc_rt_${part}_host)
            target_include_directories(bmc_rt_${part}_host SYSTEM PRIVATE ${BMC_PART_${part}_INCLUDES})
            target_link_libraries(bmc_rt_${part}_host INTERFACE ${BMC_PART_${part}_LIBS})
            list(APPEND BMC_RT_PARTS bmc_rt_${part})
            list(APPEND BMC_RT_PARTS_HOST bmc_rt_${part}_host)
        endif()
    endforeach()
    install(DIRECTORY ${CMAKE_SOURCE_DIR}/runtime/ DESTINATION ${CMAKE_INSTALL_DATADIR}/bmc/runtime FILES_MATCHING PATTERN "*.[ch]" PATTERN "*.def")
else()
    message(STATUS "runtime has no sources yet")
    add_library(bmc_rt_host INTERFACE)
endif()

# Generated headers say #include <bmc/bmc.h>; ../include beside bin/ has it in the build tree as well.
configure_file(${CMAKE_SOURCE_DIR}/runtime/bmc.h ${CMAKE_BINARY_DIR}/include/bmc/bmc.h COPYONLY)
